import {
  type CreateOption,
  type CreateRequest,
  type HostFile,
  ImageError,
  type StorageHost,
} from '../../image.ts';
import type { Header, HeaderExtension } from './header.ts';
import { encodeHeader, featureNames } from './header-encode.ts';
import * as q from './layout.ts';
import { CountCodec } from './refcount-block.ts';
import { checkPreallocation, tooLarge } from './resize.ts';

/** In the order in which qemu-img tells of them. */
export const CREATE_OPTIONS: readonly CreateOption[] = [
  { name: 'encryption', type: 'bool', about: 'off: images that are encrypted are not made' },
  {
    ...{ name: 'cluster_size', type: 'size', byDefault: 65536 },
    about: 'bytes in a cluster, 512 to 2M (64K)',
  },
  {
    ...{ name: 'extended_l2', type: 'bool', byDefault: false },
    about: 'allocate 32 subclusters in a cluster (off)',
  },
  { name: 'preallocation', type: 'text', about: 'off (the default), metadata, falloc or full' },
  {
    ...{ name: 'compression_type', type: 'text', byDefault: 'zlib' },
    about: 'zlib (the default) or zstd',
  },
  { name: 'compat', type: 'text', about: 'version: 1.1 (v3, the default) or 0.10 (v2)' },
  { name: 'backing_file', type: 'text', about: 'image that holds what is not written here' },
  { name: 'backing_fmt', type: 'text', about: 'format of the backing image' },
  { name: 'data_file', type: 'text', about: 'file that holds the data' },
  { name: 'data_file_raw', type: 'bool', about: 'keep the data file a raw image (off)' },
  {
    ...{ name: 'lazy_refcounts', type: 'bool', byDefault: false },
    about: 'write refcounts at the end alone (off)',
  },
  {
    ...{ name: 'refcount_bits', type: 'number', byDefault: 16 },
    about: 'bits of a refcount, 1 to 64 (16)',
  },
];

/** Modes of preallocation that take the room of the host, too. */
const RESERVING = ['falloc', 'full'];

const AMENDABLE = ['compat', 'data_file', 'data_file_raw', 'lazy_refcounts', 'refcount_bits'];

/** What `amend` changes, besides the disk's size; the backing file is rebase's. */
export const AMEND_OPTIONS: readonly CreateOption[] = CREATE_OPTIONS.filter(({ name }) =>
  AMENDABLE.includes(name),
);

/** The options, checked. */
export interface Choice {
  readonly version: 2 | 3;
  readonly clusterBits: number;
  readonly refcountBits: number;
  readonly lazy: boolean;
  readonly extendedL2: boolean;
  readonly compression: 'zlib' | 'zstd';
  readonly preallocation: string;
  readonly backingName: string | undefined;
  readonly backingFormat: string | undefined;
  readonly dataFile: string | undefined;
  readonly dataFileRaw: boolean;
}

/** @throws {ImageError} `bad-option` names what does not fit. */
export function chooseOptions(options: CreateRequest['options']): Choice {
  const text = (name: string): string | undefined => {
    const value = options.get(name);
    return value === undefined || value === '' ? undefined : String(value);
  };
  need(options.get('encryption') !== true, 'encryption: no image can be encrypted; leave it out');
  const compat = text('compat') ?? '1.1';
  const version = compat === '0.10' || compat === 'v2' ? 2 : 3;
  need(['0.10', '1.1', 'v2', 'v3'].includes(compat), `compat: 0.10 or 1.1, not '${compat}'`);
  const clusterBits = Math.log2(Number(options.get('cluster_size') ?? 65536));
  need(
    Number.isInteger(clusterBits) &&
      clusterBits >= q.MIN_CLUSTER_BITS &&
      clusterBits <= q.MAX_CLUSTER_BITS,
    'cluster_size: a power of two from 512 to 2M',
  );
  const refcountBits = Number(options.get('refcount_bits') ?? 16);
  need(
    [1, 2, 4, 8, 16, 32, 64].includes(refcountBits),
    'refcount_bits: a power of two from 1 to 64',
  );
  const compression = text('compression_type') ?? 'zlib';
  if (compression !== 'zlib' && compression !== 'zstd')
    throw bad(`compression_type: zlib or zstd, not '${compression}'`);
  const choice: Choice = {
    version,
    clusterBits,
    refcountBits,
    compression,
    lazy: options.get('lazy_refcounts') === true,
    extendedL2: options.get('extended_l2') === true,
    preallocation: text('preallocation') ?? 'off',
    backingName: text('backing_file'),
    backingFormat: text('backing_fmt'),
    dataFile: text('data_file'),
    dataFileRaw: options.get('data_file_raw') === true,
  };
  checkTogether(choice);
  return choice;
}

function checkTogether(choice: Choice): void {
  checkPreallocation(choice.preallocation);
  const needsV3 =
    choice.lazy ||
    choice.extendedL2 ||
    choice.refcountBits !== 16 ||
    choice.compression !== 'zlib' ||
    choice.dataFile !== undefined;
  need(
    choice.version === 3 || !needsV3,
    'compat=0.10 has no lazy_refcounts, extended_l2, refcount_bits, compression_type, data_file; use 1.1',
  );
  need(
    !choice.extendedL2 || choice.clusterBits >= q.MIN_EXTENDED_CLUSTER_BITS,
    'extended_l2 needs a cluster_size of 16K or more',
  );
  need(
    choice.preallocation === 'off' || choice.backingName === undefined,
    'preallocation would hide the backing_file; leave one of them out',
  );
  need(!choice.dataFileRaw || choice.dataFile !== undefined, 'data_file_raw needs a data_file');
  need(
    !choice.dataFileRaw || choice.backingName === undefined,
    'data_file_raw allows no backing_file',
  );
  need(
    (choice.backingName?.length ?? 0) <= q.MAX_BACKING_NAME_BYTES,
    `backing_file: at most ${q.MAX_BACKING_NAME_BYTES} bytes`,
  );
}

function need(isMet: boolean, what: string): void {
  if (!isMet) throw bad(what);
}

function bad(what: string): ImageError {
  return new ImageError('bad-option', what);
}

/** Where the tables of an empty image lie, in clusters. */
interface Plan {
  readonly l1Entries: number;
  readonly tableClusters: number;
  readonly blocks: number;
  readonly clusters: number;
}

function planTables(choice: Choice, sizeBytes: number, path: string): Plan {
  const clusterBytes = 2 ** choice.clusterBits;
  const perTable = clusterBytes / (choice.extendedL2 ? 16 : 8);
  const l1Entries = Math.ceil(sizeBytes / (clusterBytes * perTable));
  if (l1Entries * 8 > q.MAX_L1_BYTES) throw tooLarge(path, sizeBytes);
  const l1Clusters = Math.ceil((l1Entries * 8) / clusterBytes);
  const perBlock = (clusterBytes * 8) / choice.refcountBits;
  let [tableClusters, blocks, clusters] = [1, 1, 0];
  for (let known = -1; known !== clusters; ) {
    known = clusters;
    clusters = 1 + tableClusters + blocks + l1Clusters;
    blocks = Math.max(blocks, Math.ceil(clusters / perBlock));
    tableClusters = Math.max(tableClusters, Math.ceil((blocks * 8) / clusterBytes));
  }
  return { l1Entries, tableClusters, blocks, clusters };
}

/** Writes an empty image. What `choice` says of preallocation is done by whoever opens it next. */
export async function writeEmpty(
  file: HostFile,
  sizeBytes: number,
  choice: Choice,
  host: StorageHost,
): Promise<void> {
  const plan = planTables(choice, sizeBytes, file.path);
  const clusterBytes = 2 ** choice.clusterBits;
  const header = headerOf(choice, sizeBytes, plan);
  const bytes = encodeHeader(header);
  if (bytes.length > clusterBytes)
    throw bad(
      'backing_file and other names do not fit the first cluster; use a larger cluster_size',
    );
  if (choice.dataFile !== undefined) await makeDataFile(file, choice.dataFile, sizeBytes, host);
  await file.truncate(plan.clusters * clusterBytes);
  const table = new DataView(new ArrayBuffer(plan.tableClusters * clusterBytes));
  const codec = new CountCodec(choice.refcountBits);
  const perBlock = (clusterBytes * 8) / choice.refcountBits;
  for (let block = 0; block < plan.blocks; block++) {
    const offset = (1 + plan.tableClusters + block) * clusterBytes;
    table.setBigUint64(block * 8, BigInt(offset));
    const counts = new DataView(new ArrayBuffer(clusterBytes));
    const here = Math.min(perBlock, plan.clusters - block * perBlock);
    for (let index = 0; index < here; index++) codec.set(counts, index, 1);
    await file.write(offset, new Uint8Array(counts.buffer));
  }
  await file.write(clusterBytes, new Uint8Array(table.buffer));
  if (header.l1Offset > 0) await file.write(header.l1Offset, new Uint8Array(plan.l1Entries * 8));
  await file.write(0, bytes);
  await file.flush();
}

async function makeDataFile(
  file: HostFile,
  name: string,
  sizeBytes: number,
  host: StorageHost,
): Promise<void> {
  const data = await host.openFile(host.resolve(file.path, name), { access: 'create' });
  try {
    await data.truncate(sizeBytes);
    await data.flush();
  } finally {
    await data.close();
  }
}

function headerOf(choice: Choice, sizeBytes: number, plan: Plan): Header {
  const clusterBytes = 2 ** choice.clusterBits;
  const isV3 = choice.version === 3;
  return {
    version: choice.version,
    headerBytes: isV3 ? q.KNOWN_HEADER_BYTES : q.V2_HEADER_BYTES,
    clusterBits: choice.clusterBits,
    sizeBytes,
    backingName: choice.backingName,
    backingFormat: choice.backingFormat,
    dataFile: choice.dataFile,
    l1Entries: plan.l1Entries,
    l1Offset: (1 + plan.tableClusters + plan.blocks) * clusterBytes,
    refcountTableOffset: clusterBytes,
    refcountTableClusters: plan.tableClusters,
    snapshotCount: 0,
    snapshotsOffset: 0,
    incompatible:
      (choice.dataFile === undefined ? 0 : q.INCOMPATIBLE_DATA_FILE) |
      (choice.compression === 'zstd' ? q.INCOMPATIBLE_COMPRESSION : 0) |
      (choice.extendedL2 ? q.INCOMPATIBLE_EXTENDED_L2 : 0),
    compatible: choice.lazy ? q.COMPATIBLE_LAZY_REFCOUNTS : 0,
    autoclear: choice.dataFileRaw ? q.AUTOCLEAR_RAW_DATA : 0,
    hasUnknownAutoclear: false,
    refcountBits: choice.refcountBits,
    compression: choice.compression,
    extendedL2: choice.extendedL2,
    extensions: extensionsOf(choice),
    unknownFields: new Uint8Array(0),
  };
}

function extensionsOf(choice: Choice): HeaderExtension[] {
  const text = (value: string): Uint8Array => new TextEncoder().encode(value);
  const extensions: HeaderExtension[] = [];
  if (choice.backingFormat !== undefined && choice.backingName !== undefined)
    extensions.push({ type: q.EXT_BACKING_FORMAT, data: text(choice.backingFormat) });
  if (choice.dataFile !== undefined)
    extensions.push({ type: q.EXT_DATA_FILE, data: text(choice.dataFile) });
  // Smaller clusters keep the room for names.
  if (choice.version === 3 && choice.clusterBits >= 12)
    extensions.push({ type: q.EXT_FEATURE_NAMES, data: featureNames() });
  return extensions;
}

/** Bytes that a new file takes, with `dataBytes` of the disk in use and with all of it (qemu-img measure). */
export function measure(
  { sizeBytes, options }: CreateRequest,
  dataBytes: number,
): { required: number; fullyAllocated: number } {
  const choice = chooseOptions(options);
  const clusterBytes = 2 ** choice.clusterBits;
  const tables = metadataBytes(choice, sizeBytes);
  const data =
    choice.dataFile === undefined ? Math.ceil(dataBytes / clusterBytes) * clusterBytes : 0;
  const all =
    choice.dataFile === undefined ? Math.ceil(sizeBytes / clusterBytes) * clusterBytes : 0;
  // What a backing file has of it is not known, and what is reserved is needed.
  const isWhole = choice.backingName !== undefined || RESERVING.includes(choice.preallocation);
  return { required: tables + (isWhole ? all : data), fullyAllocated: tables + all };
}

/** Bytes of all tables of a disk that is allocated as a whole. */
function metadataBytes(choice: Choice, sizeBytes: number): number {
  const clusterBytes = 2 ** choice.clusterBits;
  const entryBytes = choice.extendedL2 ? 16 : 8;
  const dataClusters = Math.ceil(sizeBytes / clusterBytes);
  const l2Clusters = Math.ceil((dataClusters * entryBytes) / clusterBytes);
  const l1Clusters = Math.ceil((l2Clusters * 8) / clusterBytes);
  const perBlock = (clusterBytes * 8) / choice.refcountBits;
  const fixed = 1 + l1Clusters + l2Clusters + (choice.dataFile === undefined ? dataClusters : 0);
  let [blocks, tableClusters] = [1, 1];
  for (let known = -1; known !== blocks; ) {
    known = blocks;
    blocks = Math.ceil((fixed + blocks + tableClusters) / perBlock);
    tableClusters = Math.ceil((blocks * 8) / clusterBytes);
  }
  const counted = fixed - (choice.dataFile === undefined ? dataClusters : 0);
  return (counted + blocks + tableClusters) * clusterBytes;
}
