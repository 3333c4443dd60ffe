import {
  type DiskImage,
  type FileOptions,
  type HostFile,
  ImageError,
  type ImageFormat,
  type OpenContext,
  SECTOR_BYTES,
  type SnapshotQuery,
  type StorageHost,
} from './image.ts';
import {
  type FilePart,
  type ImageName,
  imageNameText,
  isJsonName,
  otherProtocol,
  parseImageName,
} from './image-name.ts';
import { PartFile } from './part-file.ts';

interface FormatEntry {
  readonly name: string;
  /** Other names that users know it by. */
  readonly aliases?: readonly string[];
  /** Formats are loaded when they are needed: all together take longer than to copy a small disk. */
  readonly load: () => Promise<ImageFormat>;
}

/** Raw matches everything: last. */
const FORMATS: readonly FormatEntry[] = [
  { name: 'qcow2', load: async () => (await import('./formats/qcow2/qcow2.ts')).qcow2 },
  { name: 'vdi', load: async () => (await import('./formats/vdi/vdi.ts')).vdi },
  {
    name: 'vpc',
    aliases: ['vhd'],
    load: async () => (await import('./formats/vpc/vpc.ts')).vpc,
  },
  { name: 'vhdx', load: async () => (await import('./formats/vhdx/vhdx.ts')).vhdx },
  { name: 'vmdk', load: async () => (await import('./formats/vmdk/vmdk.ts')).vmdk },
  {
    name: 'parallels',
    load: async () => (await import('./formats/parallels/parallels.ts')).parallels,
  },
  { name: 'qed', load: async () => (await import('./formats/qed/qed.ts')).qed },
  { name: 'dmg', load: async () => (await import('./formats/dmg/dmg.ts')).dmg },
  { name: 'iso', load: async () => (await import('./formats/iso/iso.ts')).iso },
  { name: 'raw', load: async () => (await import('./formats/raw/raw.ts')).raw },
];

/** Longer chains are taken for an attack on the opener's memory. */
const MAX_CHAIN = 256;
/** What names of backing files may start with. */
const SCHEMES = ['file', 'http', 'https'];
const PROBE_BYTES = 64 * 1024;
const BUNDLE_DESCRIPTOR = 'DiskDescriptor.xml';
/** LUKS 1 and 2, on-disk format specifications: their first bytes. */
const LUKS = [0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe];

export interface OpenImageOptions {
  /** Name of a format, or another name of it. Without one the file is probed, if `probe` allows. */
  readonly format?: string;
  readonly readOnly?: boolean;
  /** Whether a format that is not named, here or in the image for its backing file, may be guessed: for import alone. */
  readonly probe?: boolean;
  /** False: the backing file is not opened, and what is unallocated reads as zeros. */
  readonly withBacking?: boolean;
  /** As in {@link OpenContext}; default: false. */
  readonly anyBacking?: boolean;
  /** Opens the disk as it was at this snapshot; for reading only. */
  readonly snapshot?: SnapshotQuery;
  /** Whether to hold the writer's lock. Default: true unless read-only. */
  readonly lock?: boolean;
}

/** @throws {ImageError} `bad-option` when there is no such format. */
export async function formatNamed(name: string): Promise<ImageFormat> {
  const format = FORMATS.find((one) => one.name === name || one.aliases?.includes(name));
  if (format !== undefined) return await format.load();
  const known = FORMATS.map((one) => one.name).join(', ');
  throw new ImageError('bad-option', `there is no image format '${name}'; there are ${known}`);
}

/** All formats, in the order in which they are probed. */
export function allFormats(): Promise<readonly ImageFormat[]> {
  return Promise.all(FORMATS.map(({ load }) => load()));
}

/** The format that the file's bytes are of. A guest can write any header into a raw disk: for import alone. */
export async function probeFormat(file: HostFile): Promise<ImageFormat> {
  const head = new Uint8Array(PROBE_BYTES);
  const length = await file.read(0, head);
  const tail = new Uint8Array(SECTOR_BYTES);
  const sizeBytes = await file.size();
  if (sizeBytes >= SECTOR_BYTES) await file.read(sizeBytes - SECTOR_BYTES, tail);
  if (LUKS.every((byte, at) => head[at] === byte))
    throw new ImageError(
      'unsupported',
      `${file.path}: an encrypted LUKS container, for which there are no keys here; name the format raw to use it as it is`,
      { path: file.path },
    );
  if (file.path.endsWith(`/${BUNDLE_DESCRIPTOR}`)) return await formatNamed('parallels');
  for (const { load } of FORMATS) {
    const format = await load();
    if (format.probe(head.subarray(0, length), tail)) return format;
  }
  return await formatNamed('raw');
}

/**
 * Opens an image and the chain of images behind it. `name` is a path, or QEMU's `json:{…}`.
 * @throws {ImageError} `not-found`, `locked`, `bad-format`, `unsupported`, `corrupt`, …
 */
export async function openImage(
  name: string,
  host: StorageHost,
  options: OpenImageOptions = {},
): Promise<DiskImage> {
  return await openLink(parseImageName(name), host, options, []);
}

/** The file to open for what a user named: Parallels' disks are folders, with a descriptor. */
export async function fileOfDisk(path: string, host: StorageHost): Promise<string> {
  if (!/\.hdd\/?$/i.test(path)) return path;
  const inside = host.resolve(`${path.replace(/\/$/, '')}/x`, BUNDLE_DESCRIPTOR);
  return (await host.list(inside)).includes(BUNDLE_DESCRIPTOR) ? inside : path;
}

async function openLink(
  name: ImageName,
  host: StorageHost,
  given: OpenImageOptions,
  above: readonly string[],
): Promise<DiskImage> {
  const path = await fileOfDisk(name.file, host);
  const named = given.format ?? name.format;
  const options = named === undefined ? given : { ...given, format: named };
  const chain = [...above, await host.identity(path)];
  checkChain(path, chain);
  const readOnly = options.readOnly ?? false;
  let file = await openFileOf(path, host, {
    access: readOnly ? 'read' : 'write',
    lock: options.lock ?? !readOnly,
  });
  let format: ImageFormat;
  try {
    if (name.part !== undefined) file = await partOf(file, name.part, imageNameText(name));
    format = await formatOf(file, options);
  } catch (error) {
    await file.close();
    throw error;
  }
  const context = contextOf(host, options, chain, name.backing);
  if (options.snapshot === undefined)
    return await withBacking(await format.open(file, context), name);
  if (format.openSnapshot !== undefined && readOnly)
    return await withBacking(await format.openSnapshot(file, context, options.snapshot), name);
  await file.close();
  const why = readOnly ? `${format.name} images hold no snapshots` : 'a snapshot is only read';
  throw new ImageError('unsupported', `${path}: ${why}`, { path });
}

/** As the host opens it; what is there goes before what a protocol's name may mean. @throws {ImageError} `unsupported`, too. */
export async function openFileOf(
  path: string,
  host: StorageHost,
  options: FileOptions,
): Promise<HostFile> {
  try {
    return await host.openFile(path, options);
  } catch (error) {
    const protocol = otherProtocol(path);
    if (protocol === undefined || !(error instanceof ImageError && error.kind === 'not-found'))
      throw error;
    throw new ImageError(
      'unsupported',
      `${path}: the protocol '${protocol}' is not supported; download the image, or give its http(s) address`,
      { path },
    );
  }
}

/** Its path is its `name`, so that nobody takes it for all of the file. @throws {ImageError} `unsupported` for writing, `out-of-range`. */
async function partOf(file: HostFile, part: FilePart, name: string): Promise<HostFile> {
  const { path } = file;
  if (!file.readOnly)
    throw new ImageError(
      'unsupported',
      `${path}: a part of a file is only read; convert it to an image of its own`,
      { path },
    );
  const { offsetBytes } = part;
  const thereBytes = await file.size();
  const sizeBytes = part.sizeBytes ?? Math.max(0, thereBytes - offsetBytes);
  if (offsetBytes + sizeBytes > thereBytes)
    throw new ImageError(
      'out-of-range',
      `${path}: has ${thereBytes} bytes, which do not hold ${sizeBytes} from ${offsetBytes} on`,
      { path },
    );
  return new PartFile(file, name, offsetBytes, sizeBytes, true);
}

/** @throws {ImageError} `unsupported` when it has no place for the backing image that its name tells of. */
async function withBacking(image: DiskImage, { backing }: ImageName): Promise<DiskImage> {
  const hasPlace = !backing || image.backing !== undefined;
  if (hasPlace || (await image.info()).backingName !== undefined) return image;
  await image.close();
  throw new ImageError(
    'unsupported',
    `${image.path}: names no backing file that '${backing.file}' could stand for; give it one with rebase -u`,
    { path: image.path },
  );
}

function checkChain(path: string, chain: readonly string[]): void {
  if (chain.indexOf(chain.at(-1) ?? '') < chain.length - 1)
    throw new ImageError('corrupt', `${path}: the chain of backing files leads back to it`, {
      path,
    });
  if (chain.length > MAX_CHAIN)
    throw new ImageError('unsupported', `${path}: more than ${MAX_CHAIN} images in a chain`, {
      path,
    });
}

async function formatOf(file: HostFile, options: OpenImageOptions): Promise<ImageFormat> {
  if (options.format !== undefined) return await formatNamed(options.format);
  if (options.probe === true) return await probeFormat(file);
  throw new ImageError(
    'bad-option',
    `${file.path}: its format is not named; name it, because a guest can fake any format's header`,
    { path: file.path },
  );
}

function contextOf(
  host: StorageHost,
  options: OpenImageOptions,
  chain: readonly string[],
  instead: ImageName['backing'],
): OpenContext {
  return {
    host,
    readOnly: options.readOnly ?? false,
    anyBacking: options.anyBacking ?? false,
    openBacking: async (fromPath, name, format) => {
      if (options.withBacking === false || instead === null) return undefined;
      const { probe } = options;
      const reading = { readOnly: true, ...(probe === undefined ? {} : { probe }) };
      if (instead !== undefined) return await openLink(instead, host, reading, chain);
      return await openLink(
        backingImage(host, fromPath, name),
        host,
        { ...reading, ...(format === undefined ? {} : { format }) },
        chain,
      );
    },
  };
}

/** The backing image that is called `name` in the image at `fromPath`. */
export function backingImage(host: StorageHost, fromPath: string, name: string): ImageName {
  if (isJsonName(name))
    // As with QEMU, such names do not start at the image's folder; but what a server has leads to nothing on this host.
    return parseImageName(name, (file) =>
      host.resolve(/^https?:/i.test(fromPath) ? fromPath : '', file),
    );
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(name)?.[1];
  if (scheme !== undefined && !SCHEMES.includes(scheme.toLowerCase()))
    throw new ImageError(
      'unsupported',
      `${fromPath}: backing file '${name}': '${scheme}:' is not supported; files and http(s) are`,
      { path: fromPath },
    );
  const isFile = scheme?.toLowerCase() === 'file';
  return parseImageName(host.resolve(fromPath, isFile ? name.slice('file:'.length) : name));
}
