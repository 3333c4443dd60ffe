import {
  type DiskImage,
  type HostFile,
  ImageError,
  type OpenContext,
  SECTOR_BYTES,
  type SnapshotQuery,
} from '../../image.ts';
import { BitmapTracker, trackedBitmaps } from './bitmap-tracker.ts';
import { type Header, readHeader } from './header.ts';
import { HeaderStore } from './header-store.ts';
import * as q from './layout.ts';
import { Metadata, readCountTable } from './metadata.ts';
import { Qcow2Image } from './qcow2-image.ts';
import { readSnapshots, type SnapshotRecord } from './snapshot-table.ts';

/** Opens an image that `check` need not look at first; with `which`, read-only, as it was at that snapshot. */
export async function openQcow2(
  file: HostFile,
  context: OpenContext,
  which?: SnapshotQuery,
): Promise<DiskImage> {
  let data = file;
  let backing: DiskImage | undefined;
  try {
    let header = await readHeader(file);
    if (!context.readOnly) header = await prepareForWriting(file, header, context);
    const snapshots = await readSnapshots(file, header);
    if (which !== undefined) header = headerAt(header, snapshots, which, file.path);
    data = await openData(file, header, context);
    const meta = await readMetadata(file, data, header, context.readOnly);
    const { backingName, backingFormat } = header;
    if (backingName !== undefined)
      backing = await context.openBacking(file.path, backingName, backingFormat);
    const bitmaps = context.readOnly ? [] : await trackedBitmaps(file, header);
    const tracker = bitmaps.length === 0 ? undefined : new BitmapTracker(meta, bitmaps);
    return new Qcow2Image({ meta, context, snapshots, backing, tracker });
  } catch (error) {
    if (data !== file) await data.close();
    await file.close();
    await backing?.close();
    throw error;
  }
}

function recordOf(
  snapshots: readonly SnapshotRecord[],
  which: SnapshotQuery,
): SnapshotRecord | undefined {
  if (typeof which === 'string')
    return (
      snapshots.find(({ snapshot }) => snapshot.id === which) ??
      snapshots.find(({ snapshot }) => snapshot.name === which)
    );
  const { id, name } = which;
  return snapshots.find(
    ({ snapshot }) =>
      (id === undefined || snapshot.id === id) && (name === undefined || snapshot.name === name),
  );
}

/** The header as the snapshot would have it: its L1 table and its size stand for the disk's. */
function headerAt(
  header: Header,
  snapshots: readonly SnapshotRecord[],
  which: SnapshotQuery,
  path: string,
): Header {
  const record = recordOf(snapshots, which);
  if (record === undefined) {
    const told = typeof which === 'string' ? `'${which}'` : JSON.stringify(which);
    throw new ImageError('not-found', `${path}: there is no snapshot ${told}; list them`, { path });
  }
  const { l1Offset, l1Entries, snapshot } = record;
  const entryBytes = header.extendedL2 ? 16 : 8;
  const bytesPerEntry = 2 ** header.clusterBits * (2 ** header.clusterBits / entryBytes);
  if (l1Entries * bytesPerEntry < snapshot.sizeBytes)
    throw new ImageError(
      'corrupt',
      `${path}: the L1 table of snapshot '${snapshot.name}' is too short for its disk`,
      { path, offsetBytes: header.snapshotsOffset },
    );
  const sizeBytes = Math.floor(snapshot.sizeBytes / SECTOR_BYTES) * SECTOR_BYTES;
  return { ...header, l1Offset, l1Entries, sizeBytes };
}

/** Mends what the last writer left when it was killed, and takes the features off that we do not keep up. */
async function prepareForWriting(
  file: HostFile,
  header: Header,
  context: OpenContext,
): Promise<Header> {
  if ((header.incompatible & q.INCOMPATIBLE_CORRUPT) !== 0)
    throw new ImageError(
      'corrupt',
      `${file.path}: is marked as corrupt; repair it with a check, or open it read-only`,
      { path: file.path, offsetBytes: q.H_INCOMPATIBLE },
    );
  if ((header.incompatible & q.INCOMPATIBLE_DIRTY) !== 0) {
    const { check } = await import('./check.ts');
    await check(file, { repair: 'all' }, context);
    return await prepareForWriting(file, await readHeader(file), context);
  }
  if (!header.hasUnknownAutoclear) return header;
  const store = new HeaderStore(file, header);
  await store.update({
    autoclear: header.autoclear & (q.AUTOCLEAR_BITMAPS | q.AUTOCLEAR_RAW_DATA),
  });
  return store.header;
}

/** The tables that are kept in memory as a whole. */
export async function readMetadata(
  file: HostFile,
  data: HostFile,
  header: Header,
  readOnly: boolean,
): Promise<Metadata> {
  const l1 = new Uint8Array(header.l1Entries * 8);
  if ((await file.read(header.l1Offset, l1)) < l1.length)
    throw new ImageError('corrupt', `${file.path}: the file ends within the L1 table`, {
      path: file.path,
      offsetBytes: header.l1Offset,
    });
  // Reading needs no refcounts.
  const table = readOnly ? new Float64Array(0) : await readCountTable(file, header);
  const store = new HeaderStore(file, header);
  return new Metadata(file, data, store, new DataView(l1.buffer), table, await file.size());
}

async function openData(file: HostFile, header: Header, context: OpenContext): Promise<HostFile> {
  if (header.dataFile === undefined) return file;
  const { host, readOnly } = context;
  const open = (path: string): Promise<HostFile> =>
    host.openFile(path, { access: readOnly ? 'read' : 'write', lock: !readOnly });
  try {
    return await open(host.resolve(file.path, header.dataFile));
  } catch (error) {
    if (!(error instanceof ImageError) || error.kind !== 'not-found') throw error;
    // QEMU goes from the working directory.
    return await open(header.dataFile).catch(() => {
      throw error;
    });
  }
}
