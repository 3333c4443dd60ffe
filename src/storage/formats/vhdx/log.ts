import { latin1Text } from '#base/latin1.ts';
import { crc32c } from '../../blocks/crc32c.ts';
import { badAt, Fields } from '../../blocks/fields.ts';
import { OverlayFile } from '../../blocks/overlay-file.ts';
import { sameBytes, UUID_BYTES } from '../../blocks/uuid.ts';
import { type HostFile, ImageError } from '../../image.ts';
import type { Header } from './header.ts';
import * as v from './layout.ts';

/** Larger logs are not of this world: Hyper-V's have 1 MiB. */
const MAX_LOG_BYTES = 64 * v.MIB;

interface Entry {
  readonly at: number;
  readonly length: number;
  readonly tail: number;
  readonly sequence: number;
  readonly flushedBytes: number;
  readonly lastBytes: number;
  readonly bytes: Uint8Array;
}

/** What the log says should stand in the file. */
export interface Replay {
  readonly pages: ReadonlyMap<number, Uint8Array>;
  /** The file has at least so many bytes. */
  readonly sizeBytes: number;
}

/** Finds what a crash left in the log (2.3.3); undefined: nothing. @throws {ImageError} `corrupt`, `unsupported`. */
export async function readLog(file: HostFile, header: Header): Promise<Replay | undefined> {
  if (header.logGuid.every((byte) => byte === 0)) return undefined;
  if (header.logBytes > MAX_LOG_BYTES)
    throw badAt('unsupported', file.path, v.H_LOG_LENGTH, `a log of ${header.logBytes} bytes`);
  const log = new Uint8Array(header.logBytes);
  await file.read(header.logOffset, log);
  const sequence = activeSequence(entriesOf(log, header));
  const head = sequence.at(-1);
  if (head === undefined) return undefined;
  const sizeBytes = await file.size();
  if (sizeBytes < head.flushedBytes)
    throw badAt(
      'corrupt',
      file.path,
      header.logOffset + head.at,
      `the log was written when the file had ${head.flushedBytes} bytes, and it has ${sizeBytes}: it was cut off`,
    );
  const pages = new Map<number, Uint8Array>();
  for (const entry of sequence) applyEntry(entry, file.path, pages);
  return { pages, sizeBytes: Math.max(sizeBytes, head.lastBytes) };
}

function entriesOf(log: Uint8Array, header: Header): Map<number, Entry> {
  const entries = new Map<number, Entry>();
  let checked = 0;
  for (let at = 0; at < log.length; at += v.LOG_SECTOR_BYTES) {
    // Entries do not overlap: so many bytes at most can be theirs, and a forged log costs no more time.
    if (checked > 2 * log.length) break;
    const view = new DataView(log.buffer, at, v.LOG_SECTOR_BYTES);
    const length = view.getUint32(v.L_LENGTH, true);
    const isEntry =
      latin1Text(log.subarray(at, at + 4)) === v.LOG_SIGNATURE &&
      sameBytes(log.subarray(at + v.L_GUID, at + v.L_GUID + UUID_BYTES), header.logGuid);
    if (!isEntry || length % v.LOG_SECTOR_BYTES !== 0 || length === 0 || length > log.length)
      continue;
    checked += length;
    const entry = parseEntry(ringPart(log, at, length), at);
    if (entry !== undefined) entries.set(at, entry);
  }
  return entries;
}

/** The log is a ring: an entry may go on at its start. */
function ringPart(log: Uint8Array, at: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  const first = log.subarray(at, at + length);
  bytes.set(first);
  bytes.set(log.subarray(0, length - first.length), first.length);
  return bytes;
}

function parseEntry(bytes: Uint8Array, at: number): Entry | undefined {
  const fields = new Fields(bytes, { path: '', littleEndian: true });
  if (fields.u32(v.CHECKSUM_AT) !== crc32c(bytes, v.CHECKSUM_AT)) return undefined;
  try {
    return {
      at,
      length: bytes.length,
      tail: fields.u32(v.L_TAIL),
      sequence: fields.u64(v.L_SEQUENCE),
      flushedBytes: fields.u64(v.L_FLUSHED),
      lastBytes: fields.u64(v.L_LAST),
      bytes,
    };
  } catch (error) {
    if (error instanceof ImageError) return undefined;
    throw error;
  }
}

/** The newest run of entries that goes from a tail to the head that names it (2.3.2). */
function activeSequence(entries: ReadonlyMap<number, Entry>): Entry[] {
  const heads = [...entries.values()].sort((a, b) => b.sequence - a.sequence);
  const ends = new Map([...entries.values()].map((entry) => [entry.sequence, entry]));
  for (const head of heads) {
    const run = [head];
    while (run[0] !== undefined && run[0].at !== head.tail) {
      const before = ends.get(run[0].sequence - 1);
      if (before === undefined || run.length > entries.size) break;
      run.unshift(before);
    }
    if (run[0]?.at === head.tail) return run;
  }
  return [];
}

function applyEntry(entry: Entry, path: string, pages: Map<number, Uint8Array>): void {
  const fields = new Fields(entry.bytes, { path, littleEndian: true });
  const count = fields.u32(v.L_DESCRIPTORS);
  const area = v.L_FIRST_DESCRIPTOR + count * v.DESCRIPTOR_BYTES;
  let sector = Math.ceil(area / v.LOG_SECTOR_BYTES) * v.LOG_SECTOR_BYTES;
  if (sector > entry.length) throw fields.bad('corrupt', v.L_DESCRIPTORS, 'the log is damaged');
  for (let index = 0; index < count; index++) {
    const at = v.L_FIRST_DESCRIPTOR + index * v.DESCRIPTOR_BYTES;
    const kind = fields.text(at, 4);
    const offset = fields.u64(at + v.D_OFFSET);
    if (offset % v.LOG_SECTOR_BYTES !== 0 || fields.u64(at + v.D_SEQUENCE) !== entry.sequence)
      throw fields.bad('corrupt', at, 'a descriptor of the log is damaged');
    if (kind === v.ZERO_DESCRIPTOR) applyZeros(fields, at, offset, pages);
    else if (kind === v.DATA_DESCRIPTOR && sector + v.LOG_SECTOR_BYTES <= entry.length) {
      pages.set(offset, pageOf(fields, at, sector, entry.sequence));
      sector += v.LOG_SECTOR_BYTES;
    } else throw fields.bad('corrupt', at, 'a descriptor of the log is damaged');
  }
}

function applyZeros(
  fields: Fields,
  at: number,
  offset: number,
  pages: Map<number, Uint8Array>,
): void {
  const length = fields.u64(at + v.D_LEADING);
  if (length % v.LOG_SECTOR_BYTES !== 0 || length > MAX_LOG_BYTES)
    throw fields.bad('unsupported', at, `a log that zeroes ${length} bytes`);
  for (let done = 0; done < length; done += v.LOG_SECTOR_BYTES)
    pages.set(offset + done, new Uint8Array(v.LOG_SECTOR_BYTES));
}

/** A page: its ends are in the descriptor, because sequence numbers stand there in the log. */
function pageOf(fields: Fields, at: number, sector: number, sequence: number): Uint8Array {
  const high = fields.u32(sector + v.S_SEQUENCE_HIGH);
  const low = fields.u32(sector + v.S_SEQUENCE_LOW);
  if (fields.text(sector, 4) !== v.DATA_SECTOR || high * 2 ** 32 + low !== sequence)
    throw fields.bad('corrupt', sector, 'a sector of the log is damaged');
  const page = fields.bytes.slice(sector, sector + v.LOG_SECTOR_BYTES);
  page.set(fields.bytes.subarray(at + v.D_LEADING, at + v.D_LEADING + 8), 0);
  page.set(fields.bytes.subarray(at + v.D_TRAILING, at + v.D_TRAILING + 4), v.S_SEQUENCE_LOW);
  return page;
}

/** The file as it is after what `replay` says; written to it unless it is only read. */
export async function applyReplay(
  file: HostFile,
  replay: Replay,
  readOnly: boolean,
): Promise<HostFile> {
  if (readOnly) return new OverlayFile(file, replay.pages, v.LOG_SECTOR_BYTES, replay.sizeBytes);
  if ((await file.size()) < replay.sizeBytes) await file.truncate(replay.sizeBytes);
  for (const [offset, page] of replay.pages) await file.write(offset, page);
  await file.flush();
  return file;
}

/** A log entry that writes `pages` of 4 KiB, whose offsets are their keys. */
export function makeEntry(
  pages: ReadonlyMap<number, Uint8Array>,
  state: { readonly sequence: number; readonly logGuid: Uint8Array; readonly fileBytes: number },
): Uint8Array {
  const area = v.L_FIRST_DESCRIPTOR + pages.size * v.DESCRIPTOR_BYTES;
  let sector = Math.ceil(area / v.LOG_SECTOR_BYTES) * v.LOG_SECTOR_BYTES;
  const bytes = new Uint8Array(sector + pages.size * v.LOG_SECTOR_BYTES);
  const fields = new Fields(bytes, { path: '', littleEndian: true });
  fields.setText(0, v.LOG_SIGNATURE);
  fields.setU32(v.L_LENGTH, bytes.length);
  fields.setU64(v.L_SEQUENCE, state.sequence);
  fields.setU32(v.L_DESCRIPTORS, pages.size);
  bytes.set(state.logGuid, v.L_GUID);
  fields.setU64(v.L_FLUSHED, state.fileBytes);
  fields.setU64(v.L_LAST, state.fileBytes);
  let at = v.L_FIRST_DESCRIPTOR;
  for (const [offset, page] of pages) {
    fields.setText(at, v.DATA_DESCRIPTOR);
    bytes.set(page.subarray(v.S_SEQUENCE_LOW), at + v.D_TRAILING);
    bytes.set(page.subarray(0, 8), at + v.D_LEADING);
    fields.setU64(at + v.D_OFFSET, offset);
    fields.setU64(at + v.D_SEQUENCE, state.sequence);
    bytes.set(page, sector);
    fields.setText(sector, v.DATA_SECTOR);
    fields.setU32(sector + v.S_SEQUENCE_HIGH, Math.floor(state.sequence / 2 ** 32));
    fields.setU32(sector + v.S_SEQUENCE_LOW, state.sequence >>> 0);
    at += v.DESCRIPTOR_BYTES;
    sector += v.LOG_SECTOR_BYTES;
  }
  fields.setU32(v.CHECKSUM_AT, crc32c(bytes, v.CHECKSUM_AT));
  return bytes;
}
