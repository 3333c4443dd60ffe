import {
  type CreateOption,
  type CreateRequest,
  ImageError,
  type ImageFormat,
  SECTOR_BYTES,
  type StorageHost,
} from '../image.ts';
import { fileOfName, isJsonName, otherProtocol } from '../image-name.ts';

/**
 * Reads `name=value,name=value`; a comma within a value is written twice. Later values replace earlier ones; `size` is
 * kept apart from the format's own options.
 * @throws {ImageError} `bad-option`.
 */
export function parseCreateOptions(
  format: ImageFormat,
  texts: readonly string[],
): { readonly options: Map<string, string | number | boolean>; readonly sizeText?: string } {
  const options = new Map<string, string | number | boolean>();
  let sizeText: string | undefined;
  for (const text of texts.flatMap(splitList)) {
    const equals = text.indexOf('=');
    const name = equals < 0 ? text : text.slice(0, equals);
    const value = equals < 0 ? 'on' : text.slice(equals + 1);
    if (name === 'size') sizeText = value;
    else options.set(name, parseValue(optionNamed(format, name), value));
  }
  return sizeText === undefined ? { options } : { options, sizeText };
}

/** What new files take, whatever their format; see {@link withFileOptions}. */
const FILE_OPTIONS: readonly CreateOption[] = [
  { name: 'nocow', type: 'bool', about: 'no copy on write, where the file system has it (Btrfs)' },
];

/** The format with options of the files beside its own, which whoever makes the files heeds. */
export function withFileOptions(format: ImageFormat): ImageFormat {
  return { ...format, createOptions: [...format.createOptions, ...FILE_OPTIONS] };
}

/** Parts between commas; one within a part is written twice. */
export function splitList(text: string): string[] {
  return text
    .replaceAll(',,', '\0')
    .split(',')
    .filter((part) => part !== '')
    .map((part) => part.replaceAll('\0', ','));
}

function optionNamed(format: ImageFormat, name: string): CreateOption {
  const option = format.createOptions.find((one) => one.name === name);
  if (option !== undefined) return option;
  const known = format.createOptions.map((one) => one.name).join(', ');
  throw new ImageError(
    'bad-option',
    `${format.name} images have no option '${name}'; ${known === '' ? 'they have none' : `there are ${known}`}`,
  );
}

function parseValue(option: CreateOption, text: string): string | number | boolean {
  switch (option.type) {
    case 'bool':
      if (['on', 'yes', 'true', 'y'].includes(text)) return true;
      if (['off', 'no', 'false', 'n'].includes(text)) return false;
      throw badValue(option, text, 'on or off');
    case 'number':
      if (/^\d+$/.test(text)) return Number(text);
      throw badValue(option, text, 'a whole number');
    case 'size': {
      const bytes = parseImageSize(text);
      if (bytes !== undefined) return bytes;
      throw badValue(option, text, 'a size such as 64K');
    }
    default:
      return text;
  }
}

function badValue(option: CreateOption, text: string, wanted: string): ImageError {
  return new ImageError('bad-option', `${option.name}=${text}: give ${wanted}`);
}

const SIZE_SUFFIXES = 'BKMGTPE';

/** Bytes in `10G`, `1.5T`, `4096`, `0x1000`: powers of 1024, bytes without a suffix. Undefined when it is no size. */
export function parseImageSize(text: string): number | undefined {
  const match = /^(0x[\da-f]+|\d+(?:\.\d+)?)([bkmgtpe])?$/i.exec(text.trim());
  if (match === null) return undefined;
  const power = SIZE_SUFFIXES.indexOf((match[2] ?? 'B').toUpperCase());
  const bytes = Math.floor(Number(match[1]) * 1024 ** power);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** The size of the disk that is made for one of `bytes`. */
export function wholeSectors(bytes: number): number {
  return Math.ceil(bytes / SECTOR_BYTES) * SECTOR_BYTES;
}

/** Makes an image; what was at `path` is gone. */
export async function createImage(
  path: string,
  host: StorageHost,
  format: ImageFormat,
  request: CreateRequest,
): Promise<void> {
  if (format.create === undefined)
    throw new ImageError(
      'unsupported',
      `${path}: ${format.name} images can be read only; choose another format`,
    );
  if (isJsonName(path))
    throw new ImageError(
      'bad-option',
      `${path}: names a file that is there; give a new one's name`,
    );
  const protocol = otherProtocol(path);
  if (protocol !== undefined)
    throw new ImageError(
      'unsupported',
      `${path}: the protocol '${protocol}' is not supported; make a file, and upload that`,
    );
  const file = await host.openFile(fileOfName(path), { access: 'create' });
  try {
    await format.create(file, request, host);
  } finally {
    await file.close();
  }
}
