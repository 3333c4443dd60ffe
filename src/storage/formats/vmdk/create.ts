import { backingOption } from '../../blocks/backing-option.ts';
import { Fields } from '../../blocks/fields.ts';
import { fillU32 } from '../../blocks/tables.ts';
import {
  type CreateRequest,
  type HostFile,
  ImageError,
  SECTOR_BYTES,
  type StorageHost,
} from '../../image.ts';
import { makeDescriptor, UNKNOWN_TOOLS } from './descriptor.ts';
import * as v from './layout.ts';
import { readIdentity } from './parent.ts';

const SUBFORMATS = [
  'monolithicSparse',
  'monolithicFlat',
  'twoGbMaxExtentSparse',
  'twoGbMaxExtentFlat',
  'streamOptimized',
] as const;
/** What qemu-img calls the version of the virtual hardware when none is given. */
export const UNDEFINED_VERSION = 'undefined';
const ADAPTERS = ['ide', 'buslogic', 'lsilogic', 'legacyESX'];

export interface Plan {
  readonly sizeBytes: number;
  readonly subformat: (typeof SUBFORMATS)[number];
  readonly adapter: string;
  readonly hwVersion: string;
  readonly toolsVersion: string;
  readonly zeroGrains: boolean;
  readonly backing: string | undefined;
}

/** @throws {ImageError} `bad-option`. */
export function planOf(request: CreateRequest): Plan {
  const { sizeBytes, options } = request;
  const wanted = options.get('subformat') ?? 'monolithicSparse';
  const subformat = SUBFORMATS.find((one) => one === wanted);
  if (subformat === undefined)
    throw new ImageError(
      'bad-option',
      `subformat: '${wanted}'; there are ${SUBFORMATS.join(', ')}`,
    );
  const adapter = String(options.get('adapter_type') ?? 'ide');
  if (!ADAPTERS.includes(adapter))
    throw new ImageError(
      'bad-option',
      `adapter_type: '${adapter}'; there are ${ADAPTERS.join(', ')}`,
    );
  const backing = backingOption(request, ['vmdk']);
  const isFlat = subformat === 'monolithicFlat' || subformat === 'twoGbMaxExtentFlat';
  if (isFlat && backing !== undefined)
    throw new ImageError('bad-option', `subformat and backing_file: ${subformat} has all data`);
  const compat6 = options.get('compat6') === true;
  const hwVersion = String(options.get('hwversion') ?? UNDEFINED_VERSION);
  return {
    sizeBytes,
    subformat,
    adapter,
    hwVersion: hwVersion === UNDEFINED_VERSION ? (compat6 ? '6' : '4') : hwVersion,
    toolsVersion: String(options.get('toolsversion') ?? UNKNOWN_TOOLS),
    zeroGrains: options.get('zeroed_grain') === true,
    backing,
  };
}

export interface SparseLayout {
  readonly tables: number;
  readonly redundant: number;
  readonly directory: number;
  readonly overhead: number;
}

/** Where the tables of a sparse extent lie, in sectors. */
export function sparseLayout(sizeBytes: number, compressed: boolean): SparseLayout {
  const grains = Math.ceil(sizeBytes / v.GRAIN_BYTES);
  const tables = Math.ceil(grains / v.ENTRIES_PER_TABLE);
  const directorySectors = Math.ceil((tables * 4) / SECTOR_BYTES);
  const tableSectors = (v.ENTRIES_PER_TABLE * 4) / SECTOR_BYTES;
  const each = directorySectors + tables * tableSectors;
  const first = 1 + v.DESCRIPTOR_SECTORS;
  const directory = compressed ? first : first + each;
  const grainSectors = v.GRAIN_BYTES / SECTOR_BYTES;
  const overhead = Math.ceil((directory + each) / grainSectors) * grainSectors;
  return { tables, redundant: compressed ? 0 : first, directory, overhead };
}

export async function create(
  file: HostFile,
  request: CreateRequest,
  host: StorageHost,
): Promise<void> {
  const plan = planOf(request);
  const parentCid =
    plan.backing === undefined ? undefined : (await readIdentity(file, plan.backing, host)).cid;
  const isWhole = plan.subformat === 'monolithicSparse' || plan.subformat === 'streamOptimized';
  const extents = isWhole
    ? [`RW ${plan.sizeBytes / SECTOR_BYTES} SPARSE "${baseName(file.path)}"`]
    : await createParts(file, plan, host);
  const cid = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
  const text = makeDescriptor({
    createType: plan.subformat,
    // All ones mean: no parent.
    cid: Math.min(cid, 0xffff_fffe).toString(16).padStart(8, '0'),
    parentCid,
    parentName: plan.backing,
    extents,
    sizeBytes: plan.sizeBytes,
    adapter: plan.adapter,
    hwVersion: plan.hwVersion,
    toolsVersion: plan.toolsVersion,
  });
  const bytes = new TextEncoder().encode(text);
  if (!isWhole) await file.write(0, bytes);
  else if (bytes.length <= v.DESCRIPTOR_SECTORS * SECTOR_BYTES)
    await createSparse(file, plan, plan.sizeBytes, bytes);
  else throw new ImageError('bad-option', 'backing_file: the name is too long');
  await file.flush();
}

function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

/** Makes the files beside the descriptor; the lines that name them. */
async function createParts(file: HostFile, plan: Plan, host: StorageHost): Promise<string[]> {
  const base = baseName(file.path).replace(/\.vmdk$/i, '');
  const isFlat = plan.subformat !== 'twoGbMaxExtentSparse';
  const most = plan.subformat === 'monolithicFlat' ? plan.sizeBytes : v.SPLIT_BYTES;
  const lines: string[] = [];
  for (let start = 0; start < plan.sizeBytes || lines.length === 0; start += most) {
    const sizeBytes = Math.min(most, plan.sizeBytes - start);
    const number = `${isFlat ? 'f' : 's'}${String(lines.length + 1).padStart(3, '0')}`;
    const name = `${base}-${plan.subformat === 'monolithicFlat' ? 'flat' : number}.vmdk`;
    const part = await host.openFile(host.resolve(file.path, name), { access: 'create' });
    try {
      await fillPart(part, isFlat ? 'flat' : plan, sizeBytes);
    } finally {
      await part.close();
    }
    lines.push(lineOf(name, isFlat, sizeBytes));
  }
  return lines;
}

/** The line of a descriptor that names a part. */
export function lineOf(name: string, isFlat: boolean, sizeBytes: number): string {
  return `RW ${sizeBytes / SECTOR_BYTES} ${isFlat ? 'FLAT' : 'SPARSE'} "${name}"${isFlat ? ' 0' : ''}`;
}

type SparseKind = Pick<Plan, 'subformat' | 'zeroGrains'>;

/** Makes an empty file a part of a disk. */
export async function fillPart(
  part: HostFile,
  kind: 'flat' | SparseKind,
  sizeBytes: number,
): Promise<void> {
  if (kind === 'flat') await part.truncate(sizeBytes);
  else await createSparse(part, kind, sizeBytes, new Uint8Array(0));
  await part.flush();
}

async function createSparse(
  file: HostFile,
  plan: SparseKind,
  sizeBytes: number,
  descriptor: Uint8Array,
): Promise<void> {
  const compressed = plan.subformat === 'streamOptimized';
  const layout = sparseLayout(sizeBytes, compressed);
  const hasDescriptor = descriptor.length > 0;
  const fields = new Fields(new Uint8Array(v.HEADER_BYTES), { path: '', littleEndian: true });
  fields.setText(0, v.MAGIC);
  const version = plan.zeroGrains ? 2 : 1;
  fields.setU32(v.H_VERSION, compressed ? 3 : version);
  fields.setU32(
    v.H_FLAGS,
    v.FLAG_NEWLINES |
      (compressed ? v.FLAG_COMPRESSED | v.FLAG_MARKERS : v.FLAG_REDUNDANT) |
      (plan.zeroGrains ? v.FLAG_ZERO_GRAINS : 0),
  );
  fields.setU64(v.H_CAPACITY, sizeBytes / SECTOR_BYTES);
  fields.setU64(v.H_GRAIN, v.GRAIN_BYTES / SECTOR_BYTES);
  fields.setU64(v.H_DESCRIPTOR, hasDescriptor ? 1 : 0);
  fields.setU64(v.H_DESCRIPTOR_SIZE, hasDescriptor ? v.DESCRIPTOR_SECTORS : 0);
  fields.setU32(v.H_ENTRIES, v.ENTRIES_PER_TABLE);
  fields.setU64(v.H_REDUNDANT_DIRECTORY, layout.redundant);
  fields.setU64(v.H_DIRECTORY, layout.directory);
  fields.setU64(v.H_OVERHEAD, layout.overhead);
  // Copies that change line ends damage these.
  fields.bytes.set(new TextEncoder().encode('\n \r\n'), v.H_NEWLINES);
  fields.setU16(v.H_COMPRESSION, compressed ? v.COMPRESSION_DEFLATE : 0);
  await file.truncate(layout.overhead * SECTOR_BYTES);
  if (layout.redundant !== 0) await writeDirectory(file, layout.redundant, layout.tables);
  await writeDirectory(file, layout.directory, layout.tables);
  if (hasDescriptor) await file.write(SECTOR_BYTES, descriptor);
  await file.write(0, fields.bytes);
}

/** All tables are there from the start, right behind the directory, and full of zeros. */
async function writeDirectory(file: HostFile, sector: number, tables: number): Promise<void> {
  const first = sector + Math.ceil((tables * 4) / SECTOR_BYTES);
  const tableSectors = (v.ENTRIES_PER_TABLE * 4) / SECTOR_BYTES;
  await fillU32(
    { file, offsetBytes: sector * SECTOR_BYTES, count: tables, littleEndian: true },
    (index) => first + index * tableSectors,
  );
}
