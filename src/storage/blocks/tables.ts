import type { HostFile } from '../image.ts';

const CHUNK_BYTES = 1 << 20;

export interface TableRange {
  readonly file: HostFile;
  readonly offsetBytes: number;
  readonly count: number;
  readonly littleEndian: boolean;
}

/** Visits the entries of a table of 32-bit numbers, with the place of each in the file; waits where `visit` gives a promise. */
export async function eachU32(
  { file, offsetBytes, count, littleEndian }: TableRange,
  visit: (value: number, index: number, placeBytes: number) => Promise<void> | undefined,
): Promise<void> {
  for (let done = 0; done < count * 4; done += CHUNK_BYTES) {
    const bytes = new Uint8Array(Math.min(CHUNK_BYTES, count * 4 - done));
    await file.read(offsetBytes + done, bytes);
    const view = new DataView(bytes.buffer);
    for (let at = 0; at < bytes.length; at += 4) {
      const place = offsetBytes + done + at;
      const waiting = visit(view.getUint32(at, littleEndian), (done + at) / 4, place);
      if (waiting !== undefined) await waiting;
    }
  }
}

/** As eachU32, of 64-bit numbers; those of more than 53 bits lose their last bits. */
export async function eachU64(
  { file, offsetBytes, count, littleEndian }: TableRange,
  visit: (value: number, index: number, placeBytes: number) => Promise<void> | undefined,
): Promise<void> {
  for (let done = 0; done < count * 8; done += CHUNK_BYTES) {
    const bytes = new Uint8Array(Math.min(CHUNK_BYTES, count * 8 - done));
    await file.read(offsetBytes + done, bytes);
    const view = new DataView(bytes.buffer);
    for (let at = 0; at < bytes.length; at += 8) {
      const value = Number(view.getBigUint64(at, littleEndian));
      const waiting = visit(value, (done + at) / 8, offsetBytes + done + at);
      if (waiting !== undefined) await waiting;
    }
  }
}

export async function writeU32(
  file: HostFile,
  offsetBytes: number,
  value: number,
  littleEndian: boolean,
): Promise<void> {
  const view = new DataView(new ArrayBuffer(4));
  view.setUint32(0, value, littleEndian);
  await file.write(offsetBytes, new Uint8Array(view.buffer));
}

export async function writeU64(
  file: HostFile,
  offsetBytes: number,
  value: number,
  littleEndian: boolean,
): Promise<void> {
  const view = new DataView(new ArrayBuffer(8));
  view.setBigUint64(0, BigInt(value), littleEndian);
  await file.write(offsetBytes, new Uint8Array(view.buffer));
}

/** Fills a table with one 32-bit number. */
export async function fillU32(range: TableRange, value: (index: number) => number): Promise<void> {
  const { file, offsetBytes, count, littleEndian } = range;
  for (let first = 0; first < count; first += CHUNK_BYTES / 4) {
    const view = new DataView(new ArrayBuffer(Math.min(CHUNK_BYTES, (count - first) * 4)));
    for (let at = 0; at < view.byteLength; at += 4)
      view.setUint32(at, value(first + at / 4), littleEndian);
    await file.write(offsetBytes + first * 4, new Uint8Array(view.buffer));
  }
}
