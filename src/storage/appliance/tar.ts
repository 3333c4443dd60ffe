import { badAt } from '../blocks/fields.ts';
import type { HostFile } from '../image.ts';

// POSIX.1-1988 ustar, and GNU's way to write large sizes.
const BLOCK_BYTES = 512;
const NAME_BYTES = 100;
const SIZE_AT = 124;
const SIZE_BYTES = 12;
const CHECKSUM_AT = 148;
const CHECKSUM_BYTES = 8;
const TYPE_AT = 156;
const MAGIC_AT = 257;
const MAGIC = 'ustar';
const MAX_MEMBERS = 1000;

export interface TarMember {
  readonly name: string;
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

export function isTar(head: Uint8Array): boolean {
  return text(head, MAGIC_AT, MAGIC.length) === MAGIC;
}

/** Where the members of an archive lie; what is no file is left out. @throws {ImageError} `corrupt`. */
export async function readTar(file: HostFile): Promise<TarMember[]> {
  const members: TarMember[] = [];
  const fileBytes = await file.size();
  for (let at = 0; at + BLOCK_BYTES <= fileBytes; ) {
    const header = new Uint8Array(BLOCK_BYTES);
    await file.read(at, header);
    if (header.every((byte) => byte === 0)) break;
    const sizeBytes = numberAt(header, SIZE_AT, SIZE_BYTES);
    const offsetBytes = at + BLOCK_BYTES;
    if (numberAt(header, CHECKSUM_AT, CHECKSUM_BYTES) !== checksum(header))
      throw badAt('corrupt', file.path, at, "the checksum of an archive's member is wrong");
    if (!Number.isSafeInteger(sizeBytes) || offsetBytes + sizeBytes > fileBytes)
      throw badAt('corrupt', file.path, at, `a member of ${sizeBytes} bytes: the file was cut off`);
    if (members.length >= MAX_MEMBERS)
      throw badAt('corrupt', file.path, at, `more than ${MAX_MEMBERS} members`);
    const type = header[TYPE_AT] ?? 0;
    if (type === 0 || type === 0x30)
      members.push({ name: text(header, 0, NAME_BYTES), offsetBytes, sizeBytes });
    at = offsetBytes + Math.ceil(sizeBytes / BLOCK_BYTES) * BLOCK_BYTES;
  }
  return members;
}

/** The header of a member; what follows it is filled up to whole blocks. */
export function tarHeader(name: string, sizeBytes: number, mtimeMs: number): Uint8Array {
  const header = new Uint8Array(BLOCK_BYTES);
  const put = (at: number, value: string): void => header.set(new TextEncoder().encode(value), at);
  put(0, name.slice(0, NAME_BYTES));
  put(100, '0000644\0');
  put(108, '0000000\0');
  put(116, '0000000\0');
  if (sizeBytes < 8 ** (SIZE_BYTES - 1)) put(SIZE_AT, octal(sizeBytes, SIZE_BYTES - 1));
  else {
    // Base 256, marked by the highest bit.
    new DataView(header.buffer).setBigUint64(SIZE_AT + 4, BigInt(sizeBytes));
    header[SIZE_AT] = 0x80;
  }
  put(136, octal(Math.floor(mtimeMs / 1000), 11));
  put(TYPE_AT, '0');
  put(MAGIC_AT, `${MAGIC}\x0000`);
  put(CHECKSUM_AT, `${octal(checksum(header), 6)}\0 `);
  return header;
}

function octal(value: number, digits: number): string {
  return value.toString(8).padStart(digits, '0');
}

/** Of the header with its own place full of spaces. */
function checksum(header: Uint8Array): number {
  let sum = 0;
  for (const [at, byte] of header.entries())
    sum += at >= CHECKSUM_AT && at < CHECKSUM_AT + CHECKSUM_BYTES ? 0x20 : byte;
  return sum;
}

function numberAt(header: Uint8Array, at: number, length: number): number {
  const first = header[at] ?? 0;
  if ((first & 0x80) === 0) return Number.parseInt(text(header, at, length).trim() || '0', 8);
  return Number(new DataView(header.buffer, header.byteOffset).getBigUint64(at + length - 8));
}

function text(bytes: Uint8Array, at: number, length: number): string {
  return new TextDecoder().decode(bytes.subarray(at, at + length)).replace(/\0.*$/s, '');
}
