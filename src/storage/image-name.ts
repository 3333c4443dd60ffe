import { parseSize } from '#base/units.ts';
import { ImageError, SECTOR_BYTES } from './image.ts';

/** An image as a user, or another image, names it. */
export interface ImageName {
  readonly file: string;
  /** Undefined: it is not said. */
  readonly format: string | undefined;
  /** What stands in the place of the image's own backing file; null: nothing. Undefined: it is not said. */
  readonly backing: ImageName | null | undefined;
  /** The part of the file that is a raw disk; undefined: all of it. */
  readonly part?: FilePart | undefined;
}

export interface FilePart {
  readonly offsetBytes: number;
  /** Undefined: up to the file's end. */
  readonly sizeBytes: number | undefined;
}

/** Names and values, also of options within options. */
type Options = readonly (readonly [name: string, value: unknown])[];

const JSON_PREFIX = 'json:';
/** Longer and deeper ones are taken for an attack on the reader's memory. */
const MAX_JSON_CHARACTERS = 64 << 10;
const MAX_DEPTH = 32;
/** What of an image's options means nothing here, under the names that QEMU has. */
const IGNORED =
  /^(file\.)?(aio|locking|discard|detect-zeroes|read-only|auto-read-only|force-share|node-name|cache\.(direct|no-flush)|lazy-refcounts|overlap-check|l2-cache-size|refcount-cache-size|cache-size|cache-clean-interval)$/;
/** Drivers of files, not of formats. */
const PROTOCOLS = ['file', 'host_device', 'http', 'https'];

/** Whether it is written as QEMU's `json:{…}`. */
export function isJsonName(text: string): boolean {
  return text.startsWith(JSON_PREFIX);
}

/** What may stand before a file's name. */
const FILE_PREFIX = /^(?:file|host_device):/;
/** What QEMU reaches images by, or tests itself with; and whatever else looks like a URL that is none of ours. */
const OTHER_PROTOCOL =
  /^((?:nbd|ssh|sftp|gluster|rbd|sheepdog|iscsi|iser|nfs|ftps?|tftp|v?fat|nvme|null-co|null-aio|blkdebug|blkverify)(?:\+[a-z]+)?(?=:)|(?!https?:)[a-z][a-z0-9+.-]*(?=:\/\/))/i;

/** The protocol that a name starts with, of those that lead to no file and are not supported. */
export function otherProtocol(file: string): string | undefined {
  return OTHER_PROTOCOL.exec(file)?.[1];
}

/** A file's name without the protocol of files. As QEMU shows it: another colon that is in it would be taken for that of one. */
function withoutPrefix(text: string): string {
  const file = text.replace(FILE_PREFIX, '');
  return file !== text && /^[^/]*:/.test(file) ? `./${file}` : file;
}

/** The file alone of a name. @throws {ImageError} as {@link parseImageName}. */
export function fileOfName(text: string): string {
  return isJsonName(text) ? parseImageName(text).file : withoutPrefix(text);
}

/** The path of the image that opens by this name: its file's, or for a part of one the part's own name. @throws {ImageError} */
export function pathOfName(text: string): string {
  if (!isJsonName(text)) return withoutPrefix(text);
  const name = parseImageName(text);
  return name.part === undefined ? name.file : imageNameText(name);
}

/** The text that {@link parseImageName} reads as `name`. */
export function imageNameText(name: ImageName): string {
  const isPlain = name.format === undefined && name.backing === undefined;
  return isPlain && !isJsonName(name.file)
    ? name.file
    : `${JSON_PREFIX}${JSON.stringify(optionsOf(name))}`;
}

function optionsOf({ file, format, backing, part }: ImageName): object {
  return {
    ...(format === undefined ? {} : { driver: format }),
    ...(part === undefined ? {} : { offset: part.offsetBytes }),
    ...(part?.sizeBytes === undefined ? {} : { size: part.sizeBytes }),
    file: { filename: file },
    ...(backing === undefined ? {} : { backing: backing && optionsOf(backing) }),
  };
}

/**
 * Reads a file's name, or `json:{"driver":"qcow2","file":{"driver":"file","filename":"disk.img"}}`: options within options, or with
 * dots between their names, as QEMU has them. `resolve` says which file one that is named there means.
 * @throws {ImageError} `bad-option`.
 */
export function parseImageName(
  text: string,
  resolve: (file: string) => string = (file) => file,
): ImageName {
  if (!isJsonName(text))
    return { file: resolve(withoutPrefix(text)), format: undefined, backing: undefined };
  const shown = text.length > 100 ? `${text.slice(0, 100)}…` : text;
  const bad = (why: string): ImageError => new ImageError('bad-option', `${shown}: ${why}`);
  if (text.length > MAX_JSON_CHARACTERS) throw bad('is too long for the name of an image');
  let value: unknown;
  try {
    value = JSON.parse(text.slice(JSON_PREFIX.length));
  } catch (error) {
    throw bad(`is no JSON: ${(error as Error).message}`);
  }
  if (!isObject(value) || Array.isArray(value)) throw bad('is no JSON object');
  return readImageOptions(Object.entries(value), bad, resolve);
}

/** Reads options of QEMU's block devices; `bad` makes the error that is thrown. */
export function readImageOptions(
  options: Options,
  bad: (why: string) => Error,
  resolve: (file: string) => string = (file) => file,
  depth = 0,
): ImageName {
  const { flat, behind } = flatten(options, bad, depth);
  const take = (name: string): string | undefined => {
    const value = flat.get(name);
    flat.delete(name);
    if (value === undefined || typeof value === 'string') return value;
    throw bad(`'${name}' is no text`);
  };
  const driver = take('driver') ?? take('file.format');
  const protocol = take('file.driver');
  if (protocol !== undefined && !PROTOCOLS.includes(protocol))
    throw bad(`there is no driver '${protocol}' of files; there are ${PROTOCOLS.join(', ')}`);
  const isPlain = driver !== undefined && PROTOCOLS.includes(driver);
  const file =
    (isPlain ? (take('filename') ?? take('url')) : undefined) ??
    take('file.filename') ??
    take('file.url');
  const part = driver === 'raw' ? takePart(flat, bad) : undefined;
  const isBare = flat.get('backing') === null;
  if (isBare) flat.delete('backing');
  const [unknown] = flat.keys();
  if (unknown !== undefined)
    throw bad(`'${unknown}' is none of what it may have; give driver and file.filename`);
  if (file === undefined || file === '') throw bad('file.filename is missing; give it');
  return {
    file: resolve(file),
    format: isPlain ? 'raw' : driver,
    backing: isBare
      ? null
      : behind.length === 0
        ? undefined
        : readImageOptions(behind, bad, resolve, depth + 1),
    ...(part === undefined ? {} : { part }),
  };
}

/** Takes QEMU's options of raw disks, `offset` and `size`. */
function takePart(flat: Map<string, unknown>, bad: (why: string) => Error): FilePart | undefined {
  const bytes = (name: string): number | undefined => {
    const value = flat.get(name) ?? undefined;
    flat.delete(name);
    if (value === undefined) return undefined;
    const count = parseSize(String(value));
    if (count === undefined) throw bad(`'${name}' is no size: ${value}; give bytes, or 4M`);
    return count;
  };
  const [offset, sizeBytes] = [bytes('offset'), bytes('size')];
  if (sizeBytes !== undefined && sizeBytes % SECTOR_BYTES !== 0)
    throw bad(`'size' is no multiple of ${SECTOR_BYTES}: ${sizeBytes}`);
  if (offset === undefined && sizeBytes === undefined) return undefined;
  return { offsetBytes: offset ?? 0, sizeBytes };
}

/** Options by their names with dots; apart from them those of the backing image. */
function flatten(
  options: Options,
  bad: (why: string) => Error,
  depth: number,
): { readonly flat: Map<string, unknown>; readonly behind: Options } {
  const flat = new Map<string, unknown>();
  const behind: [string, unknown][] = [];
  const add = (name: string, value: unknown, level: number): void => {
    if (level > MAX_DEPTH) throw bad('has options too deep within options');
    if (name.startsWith('backing.')) behind.push([name.slice('backing.'.length), value]);
    else if (isObject(value))
      for (const [inner, one] of Object.entries(value)) add(`${name}.${inner}`, one, level + 1);
    else if (!IGNORED.test(name)) flat.set(name, value);
  };
  for (const [name, value] of options) add(name, value, depth);
  return { flat, behind };
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}
