import { type HostFile, ImageError, type Snapshot } from '../../image.ts';
import type { Header } from './header.ts';
import * as q from './layout.ts';

const ENTRY_BYTES = 40;
const CHUNK_BYTES = 64 * 1024;

/** The snapshot table: entries of variable length, read until `snapshotCount` are found. @throws {ImageError} `corrupt`. */
export async function readSnapshots(file: HostFile, header: Header): Promise<Snapshot[]> {
  const snapshots: Snapshot[] = [];
  let table = new Uint8Array(0);
  for (let at = 0; snapshots.length < header.snapshotCount; ) {
    const entry = parseSnapshot(table, at, header.sizeBytes);
    if (entry !== undefined) {
      snapshots.push(entry.snapshot);
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

/** The entry at `at`, or undefined when `table` ends before it does. */
function parseSnapshot(
  table: Uint8Array,
  at: number,
  diskBytes: number,
): { snapshot: Snapshot; bytes: number } | undefined {
  if (at + ENTRY_BYTES > table.length) return undefined;
  const view = new DataView(table.buffer, table.byteOffset + at, table.length - at);
  const idBytes = view.getUint16(12);
  const nameBytes = view.getUint16(14);
  const extraBytes = view.getUint32(36);
  const idAt = ENTRY_BYTES + extraBytes;
  const end = idAt + idBytes + nameBytes;
  if (end > view.byteLength) return undefined;
  const text = (from: number, length: number): string =>
    new TextDecoder().decode(table.subarray(at + from, at + from + length));
  const number64 = (from: number): number =>
    view.getUint32(from) * q.TWO_32 + view.getUint32(from + 4);
  return {
    bytes: Math.ceil(end / 8) * 8,
    snapshot: {
      id: text(idAt, idBytes),
      name: text(idAt + idBytes, nameBytes),
      createdMs: view.getUint32(16) * 1000 + Math.floor(view.getUint32(20) / 1e6),
      vmClockNs: view.getBigUint64(24),
      vmStateBytes: extraBytes >= 8 ? number64(40) : view.getUint32(32),
      sizeBytes: extraBytes >= 16 ? number64(48) : diskBytes,
    },
  };
}
