import { type BlockTable, checkBlocks } from '../../blocks/block-check.ts';
import { CheckReport } from '../../blocks/check-report.ts';
import { Fields } from '../../blocks/fields.ts';
import { MappedImage } from '../../blocks/mapped-image.ts';
import { eachU32, writeU32 } from '../../blocks/tables.ts';
import {
  type CheckRequest,
  type CheckResult,
  type CreateRequest,
  type HostFile,
  ImageError,
  type ImageFormat,
  type OpenContext,
  SECTOR_BYTES,
} from '../../image.ts';
import { type Header, isBundle, isParallels, readHeader } from './header.ts';
import * as v from './layout.ts';
import { ParallelsMap } from './parallels-map.ts';

const FORMAT = 'parallels';
/** What tells a descriptor from a disk. */
const HEAD_BYTES = 1024;
const NOTHING_FOUND: CheckResult = {
  ...{ corruptions: 0, leaks: 0, corruptionsFixed: 0, leaksFixed: 0, checkErrors: 0 },
  ...{ messages: [], imageEndBytes: 0, totalClusters: 0, allocatedClusters: 0 },
  ...{ fragmentedClusters: 0, compressedClusters: 0 },
};

function added(a: CheckResult, b: CheckResult): CheckResult {
  return {
    corruptions: a.corruptions + b.corruptions,
    leaks: a.leaks + b.leaks,
    corruptionsFixed: a.corruptionsFixed + b.corruptionsFixed,
    leaksFixed: a.leaksFixed + b.leaksFixed,
    checkErrors: a.checkErrors + b.checkErrors,
    messages: [...a.messages, ...b.messages],
    imageEndBytes: a.imageEndBytes + b.imageEndBytes,
    totalClusters: a.totalClusters + b.totalClusters,
    allocatedClusters: a.allocatedClusters + b.allocatedClusters,
    fragmentedClusters: a.fragmentedClusters + b.fragmentedClusters,
    compressedClusters: a.compressedClusters + b.compressedClusters,
  };
}

interface Plan {
  readonly clusterBytes: number;
  readonly entries: number;
  readonly dataOffset: number;
}

function planOf({ sizeBytes, options }: CreateRequest): Plan {
  const clusterBytes = Number(options.get('cluster_size') ?? v.CLUSTER_BYTES);
  const isPower = Number.isInteger(Math.log2(clusterBytes));
  if (!isPower || clusterBytes < 4096 || clusterBytes > v.MAX_CLUSTER_BYTES)
    throw new ImageError('bad-option', `cluster_size: ${clusterBytes}; powers of 2 from 4k are`);
  const entries = Math.ceil(sizeBytes / clusterBytes);
  if (entries > 0xffff_ffff)
    throw new ImageError('bad-option', `cluster_size: too small for ${sizeBytes} bytes`);
  const tableEnd = v.HEADER_BYTES + entries * 4;
  return { clusterBytes, entries, dataOffset: Math.ceil(tableEnd / clusterBytes) * clusterBytes };
}

async function create(file: HostFile, request: CreateRequest): Promise<void> {
  const { clusterBytes, entries, dataOffset } = planOf(request);
  const fields = new Fields(new Uint8Array(v.HEADER_BYTES), { path: '', littleEndian: true });
  fields.setText(0, v.MAGIC_EXT);
  fields.setU32(v.H_VERSION, v.VERSION);
  fields.setU32(v.H_HEADS, 16);
  const cylinders = Math.floor(request.sizeBytes / SECTOR_BYTES / 16 / 32);
  fields.setU32(v.H_CYLINDERS, Math.min(cylinders, 0xffff_ffff));
  fields.setU32(v.H_CLUSTER, clusterBytes / SECTOR_BYTES);
  fields.setU32(v.H_ENTRIES, entries);
  fields.setU64(v.H_SECTORS, request.sizeBytes / SECTOR_BYTES);
  fields.setU32(v.H_DATA, dataOffset / SECTOR_BYTES);
  await file.truncate(dataOffset);
  await file.write(0, fields.bytes);
  await file.flush();
}

/** All the expanding disks of a bundle, or the one that the file is. */
async function check(
  file: HostFile,
  request: CheckRequest,
  { host, readOnly }: OpenContext,
): Promise<CheckResult> {
  const head = new Uint8Array(HEAD_BYTES);
  await file.read(0, head);
  if (!isBundle(head)) return await checkDisk(file, request);
  const { readBundle } = await import('./bundle.ts');
  const { parts } = await readBundle(file);
  const results: CheckResult[] = [];
  for (const { name } of parts.flatMap(({ files }) => files.filter(({ isPlain }) => !isPlain))) {
    const path = host.resolve(file.path, name);
    const disk = await host.openFile(path, { access: readOnly ? 'read' : 'write' });
    try {
      results.push(await checkDisk(disk, request));
    } finally {
      await disk.close();
    }
  }
  return results.reduce(added, NOTHING_FOUND);
}

async function checkDisk(file: HostFile, request: CheckRequest): Promise<CheckResult> {
  const header = await readHeader(file);
  const report = new CheckReport();
  const result = await checkBlocks(await tableOf(file, header), request, report);
  if (!header.inUse) return result;
  const leaks = result.leaks + 1;
  const messages = [...result.messages, `${file.path}: at ${v.H_IN_USE}: was not closed`];
  if (request.repair === 'none' || report.hasCorruption) return { ...result, leaks, messages };
  await writeU32(file, v.H_IN_USE, 0, true);
  await file.flush();
  return { ...result, messages, leaksFixed: result.leaksFixed + 1 };
}

async function tableOf(file: HostFile, header: Header): Promise<BlockTable> {
  const { clusterBytes, entries, entryUnit, dataOffset } = header;
  const fileBytes = await file.size();
  const range = { file, offsetBytes: v.HEADER_BYTES, count: entries, littleEndian: true };
  // Entries that count clusters do so from the file's start.
  const isAligned = entryUnit === SECTOR_BYTES || dataOffset % clusterBytes === 0;
  return {
    file,
    blockBytes: clusterBytes,
    alignBytes: entryUnit,
    startBytes: isAligned ? dataOffset : Math.ceil(dataOffset / clusterBytes) * clusterBytes,
    // The last cluster may be cut short.
    limitBytes: fileBytes + clusterBytes - SECTOR_BYTES,
    usedEndBytes: fileBytes,
    units: entries,
    entries: (visit) =>
      eachU32(range, (entry, unit, place) =>
        entry === 0 ? undefined : visit(unit, entry * entryUnit, place),
      ),
    setEntry: (unit, offset) =>
      writeU32(file, v.HEADER_BYTES + unit * 4, (offset ?? 0) / entryUnit, true),
    setEnd: (endBytes) => file.truncate(endBytes),
  };
}

/** The expanding disks (.hds) of Parallels Desktop, and its bundles by their descriptor; plain disks alone are raw. */
export const parallels: ImageFormat = {
  name: FORMAT,
  probe: (head) => isParallels(head) || isBundle(head),
  open: async (file, context) => {
    const { readOnly } = context;
    const head = new Uint8Array(HEAD_BYTES);
    await file.read(0, head);
    if (isBundle(head)) {
      // Late: what reads its XML takes 12 ms to load.
      const { openBundle } = await import('./bundle.ts');
      return await openBundle(file, context);
    }
    try {
      const header = await readHeader(file);
      const map = new ParallelsMap(file, header, await file.size(), readOnly);
      const backing = undefined;
      return new MappedImage({ format: FORMAT, path: file.path, readOnly, backing, map });
    } catch (error) {
      await file.close();
      throw error;
    }
  },
  createOptions: [
    { name: 'cluster_size', type: 'size', about: 'a power of 2; default 1M', byDefault: 1 << 20 },
  ],
  create,
  check,
  measure: (request, dataBytes) => {
    const { clusterBytes, entries, dataOffset } = planOf(request);
    const required = dataOffset + Math.ceil(dataBytes / clusterBytes) * clusterBytes;
    return { required, fullyAllocated: dataOffset + entries * clusterBytes };
  },
};
