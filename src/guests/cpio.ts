// The "newc" archive of cpio(5), which Linux unpacks as an initramfs (Documentation/driver-api/early-userspace/
// buffer-format.rst): a 110-byte header of hexadecimal fields, name, data, each padded to 4 bytes; TRAILER!!! ends it.

export type CpioEntry =
  | { readonly type: 'directory'; readonly path: string; readonly mode: number }
  | {
      readonly type: 'file';
      readonly path: string;
      readonly mode: number;
      readonly bytes: Uint8Array;
    }
  | { readonly type: 'symlink'; readonly path: string; readonly target: string }
  | {
      readonly type: 'char-device';
      readonly path: string;
      readonly mode: number;
      readonly major: number;
      readonly minor: number;
    };

// File types of stat(2).
const S_IFCHR = 0o020000;
const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;

const TRAILER = 'TRAILER!!!';
/** Sizes are eight hexadecimal digits. */
const MAX_FILE_BYTES = 0xffff_ffff;

interface Record {
  readonly path: string;
  readonly mode: number;
  readonly data: Uint8Array;
  readonly major: number;
  readonly minor: number;
}

/**
 * An archive of the entries in their order; parents must come first, as Linux makes none itself. Everything belongs to
 * root and has the date 0, so that equal entries give equal bytes.
 */
export function writeCpio(entries: readonly CpioEntry[]): Uint8Array {
  const parts: Uint8Array[] = [];
  entries.forEach((entry, index) => {
    parts.push(...emitRecord(recordOf(entry), index + 1));
  });
  parts.push(
    ...emitRecord({ path: TRAILER, mode: 0, data: new Uint8Array(0), major: 0, minor: 0 }, 0),
  );
  const archive = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    archive.set(part, offset);
    offset += part.length;
  }
  return archive;
}

function recordOf(entry: CpioEntry): Record {
  const path = entry.path.replace(/^\/+/, '');
  const plain = { path, data: new Uint8Array(0), major: 0, minor: 0 };
  switch (entry.type) {
    case 'directory':
      return { ...plain, mode: S_IFDIR | entry.mode };
    case 'file':
      return { ...plain, mode: S_IFREG | entry.mode, data: entry.bytes };
    case 'symlink':
      return { ...plain, mode: S_IFLNK | 0o777, data: new TextEncoder().encode(entry.target) };
    case 'char-device':
      return { ...plain, mode: S_IFCHR | entry.mode, major: entry.major, minor: entry.minor };
  }
}

function emitRecord(record: Record, inode: number): Uint8Array[] {
  if (record.data.length > MAX_FILE_BYTES)
    throw new RangeError(`${record.path}: too large for cpio`);
  const name = new TextEncoder().encode(`${record.path}\0`);
  const fields = [
    inode,
    record.mode,
    0, // uid
    0, // gid
    1, // links
    0, // date
    record.data.length,
    0, // device the file is on: major, minor
    0,
    record.major,
    record.minor,
    name.length,
    0, // checksum, of the "crc" variant only
  ];
  const header = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`;
  const headBytes = header.length + name.length;
  const head = new Uint8Array(padded(headBytes));
  head.set(new TextEncoder().encode(header));
  head.set(name, header.length);
  return [head, record.data, new Uint8Array(padded(record.data.length) - record.data.length)];
}

function padded(bytes: number): number {
  return (bytes + 3) & ~3;
}
