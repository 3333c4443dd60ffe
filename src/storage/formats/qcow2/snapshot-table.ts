import { utf8Text } from '#base/utf8.ts';
import { type HostFile, ImageError, type Snapshot } from '../../image.ts';
import type { Header } from './header.ts';
import * as q from './layout.ts';

const NS_PER_S = 1_000_000_000n;
const ENTRY_BYTES = 40;
const CHUNK_BYTES = 64 * 1024;
/** Extra data that we write for new snapshots: VM state size, disk size. */
const EXTRA_BYTES = 16;

/** A snapshot as the table has it. */
export interface SnapshotRecord {
  readonly snapshot: Snapshot;
  readonly l1Offset: number;
  readonly l1Entries: number;
  /** What the entry has beyond the fixed fields, as it was read. */
  readonly extra: Uint8Array;
  /** As they were read: they need not be UTF-8. */
  readonly raw?: { readonly id: Uint8Array; readonly name: Uint8Array };
}

/** The snapshot table: entries of variable length, read until `snapshotCount` are found. @throws {ImageError} `corrupt`. */
export async function readSnapshots(file: HostFile, header: Header): Promise<SnapshotRecord[]> {
  const snapshots: SnapshotRecord[] = [];
  let table = new Uint8Array(0);
  for (let at = 0; snapshots.length < header.snapshotCount; ) {
    const entry = parseSnapshot(table, at, header.sizeBytes);
    if (entry !== undefined) {
      checkRecord(entry.record, file.path, header);
      snapshots.push(entry.record);
      at += entry.bytes;
      continue;
    }
    const longer = new Uint8Array(Math.max(CHUNK_BYTES, table.length * 2));
    const count = await file.read(header.snapshotsOffset, longer);
    if (count <= table.length || count > q.MAX_SNAPSHOT_TABLE_BYTES)
      throw new ImageError(
        'corrupt',
        `${file.path}: the snapshot table at ${header.snapshotsOffset} ends before its ${header.snapshotCount} entries`,
        { path: file.path, offsetBytes: header.snapshotsOffset },
      );
    table = longer.subarray(0, count);
  }
  return snapshots;
}

/** Bytes that the table takes. */
export function snapshotTableBytes(records: readonly SnapshotRecord[]): number {
  return encodeSnapshots(records).length;
}

/** The table as it stands in the file. */
export function encodeSnapshots(records: readonly SnapshotRecord[]): Uint8Array {
  const entries = records.map(encodeRecord);
  const bytes = new Uint8Array(entries.reduce((sum, one) => sum + one.length, 0));
  let at = 0;
  for (const entry of entries) {
    bytes.set(entry, at);
    at += entry.length;
  }
  return bytes;
}

function encodeRecord({ snapshot, l1Offset, l1Entries, extra, raw }: SnapshotRecord): Uint8Array {
  const id = raw?.id ?? new TextEncoder().encode(snapshot.id);
  const name = raw?.name ?? new TextEncoder().encode(snapshot.name);
  const extraBytes = Math.max(EXTRA_BYTES, extra.length);
  const length = ENTRY_BYTES + extraBytes + id.length + name.length;
  const bytes = new Uint8Array(Math.ceil(length / 8) * 8);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(l1Offset));
  view.setUint32(8, l1Entries);
  view.setUint16(12, id.length);
  view.setUint16(14, name.length);
  view.setUint32(16, Number(snapshot.createdNs / NS_PER_S));
  view.setUint32(20, Number(snapshot.createdNs % NS_PER_S));
  view.setBigUint64(24, snapshot.vmClockNs);
  view.setUint32(32, Math.min(snapshot.vmStateBytes, 0xffff_ffff));
  view.setUint32(36, extraBytes);
  bytes.set(extra, ENTRY_BYTES);
  view.setBigUint64(ENTRY_BYTES, BigInt(snapshot.vmStateBytes));
  view.setBigUint64(ENTRY_BYTES + 8, BigInt(snapshot.sizeBytes));
  bytes.set(id, ENTRY_BYTES + extraBytes);
  bytes.set(name, ENTRY_BYTES + extraBytes + id.length);
  return bytes;
}

/** @throws {ImageError} `corrupt` when the snapshot's L1 table cannot be one. */
function checkRecord(record: SnapshotRecord, path: string, header: Header): void {
  const { l1Offset, l1Entries, snapshot } = record;
  const fits =
    l1Entries * 8 <= q.MAX_L1_BYTES &&
    Number.isSafeInteger(l1Offset) &&
    l1Offset % 2 ** header.clusterBits === 0 &&
    Number.isSafeInteger(snapshot.sizeBytes);
  if (fits) return;
  throw new ImageError(
    'corrupt',
    `${path}: snapshot '${snapshot.id}' in the table at ${header.snapshotsOffset} has no proper L1 table`,
    { path, offsetBytes: header.snapshotsOffset },
  );
}

/** The entry at `at`, or undefined when `table` ends before it does. */
function parseSnapshot(
  table: Uint8Array,
  at: number,
  diskBytes: number,
): { record: SnapshotRecord; bytes: number } | undefined {
  if (at + ENTRY_BYTES > table.length) return undefined;
  const view = new DataView(table.buffer, table.byteOffset + at, table.length - at);
  const idBytes = view.getUint16(12);
  const nameBytes = view.getUint16(14);
  const extraBytes = view.getUint32(36);
  const idAt = ENTRY_BYTES + extraBytes;
  const end = idAt + idBytes + nameBytes;
  if (end > view.byteLength) return undefined;
  const id = table.subarray(at + idAt, at + idAt + idBytes);
  const name = table.subarray(at + idAt + idBytes, at + end);
  const number64 = (from: number): number =>
    view.getUint32(from) * q.TWO_32 + view.getUint32(from + 4);
  const snapshot = {
    id: utf8Text(id),
    name: utf8Text(name),
    createdNs: BigInt(view.getUint32(16)) * NS_PER_S + BigInt(view.getUint32(20)),
    vmClockNs: view.getBigUint64(24),
    vmStateBytes: extraBytes >= 8 ? number64(40) : view.getUint32(32),
    sizeBytes: extraBytes >= 16 ? number64(48) : diskBytes,
    // All ones: QEMU did not count.
    ...(extraBytes >= 24 && view.getBigInt64(56) !== -1n ? { icount: view.getBigUint64(56) } : {}),
  };
  const extra = table.slice(at + ENTRY_BYTES, at + idAt);
  return {
    bytes: Math.ceil(end / 8) * 8,
    record: {
      snapshot,
      l1Offset: number64(0),
      l1Entries: view.getUint32(8),
      extra,
      raw: { id, name },
    },
  };
}
