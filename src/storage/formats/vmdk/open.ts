import { badAt } from '../../blocks/fields.ts';
import { MappedImage } from '../../blocks/mapped-image.ts';
import { changedParent } from '../../blocks/parent-names.ts';
import {
  type DiskImage,
  type HostFile,
  ImageError,
  type ImageInfo,
  type InfoValue,
  type OpenContext,
} from '../../image.ts';
import type { Descriptor, ExtentLine } from './descriptor.ts';
import { DescriptorFile } from './descriptor-file.ts';
import type { Extent } from './extent.ts';
import { readDescriptor, readIdentity } from './parent.ts';
import { SparseExtent } from './sparse-extent.ts';
import { isSparse, readSparseHeader } from './sparse-header.ts';
import { addParts, whyPartsStay } from './split.ts';
import { VmdkMap } from './vmdk-map.ts';

const FORMAT = 'vmdk';

export async function open(file: HostFile, context: OpenContext): Promise<DiskImage> {
  const files = [file];
  let backing: DiskImage | undefined;
  try {
    const located = await readDescriptor(file);
    const extents = await openExtents(file, located.descriptor, context, files);
    const name = await parentOf(file, located.descriptor, context);
    backing = name === undefined ? undefined : await context.openBacking(file.path, name, FORMAT);
    const place = { imagePath: file.path, host: context.host };
    const text = new DescriptorFile(files, located, context.host);
    const map = new VmdkMap({
      extents,
      files,
      readOnly: context.readOnly,
      info: infoOf(located.descriptor, extents, name),
      changeId: () => text.changeId(),
      text,
      addParts: (last, range) => addParts(last, range, place),
      whyPartsStay: (parts, kept) => whyPartsStay(parts, kept, place),
      removePart: (part) => context.host.remove(part.path),
    });
    const { readOnly } = context;
    return new MappedImage({ format: FORMAT, path: file.path, readOnly, backing, map });
  } catch (error) {
    for (const one of files) await one.close();
    await backing?.close();
    throw error;
  }
}

/** The parts of the disk. Their files are added to `files`. */
export async function openExtents(
  file: HostFile,
  descriptor: Descriptor,
  context: OpenContext,
  files: HostFile[],
): Promise<Extent[]> {
  const head = new Uint8Array(4);
  await file.read(0, head);
  if (isSparse(head)) return [await sparseExtent(file, undefined, 0, context)];
  const extents: Extent[] = [];
  let startBytes = 0;
  for (const line of descriptor.extents) {
    extents.push(await openExtent(file, line, startBytes, { context, files }));
    startBytes += line.sizeBytes;
  }
  if (!Number.isSafeInteger(startBytes) || extents.length === 0)
    throw badAt('corrupt', file.path, 0, 'the descriptor names no extents that make a disk');
  checkUnits(file, extents);
  return extents;
}

async function openExtent(
  file: HostFile,
  line: ExtentLine,
  startBytes: number,
  { context, files }: { context: OpenContext; files: HostFile[] },
): Promise<Extent> {
  const lengthBytes = line.sizeBytes;
  if (line.type === 'ZERO') return { startBytes, lengthBytes, content: { kind: 'zero' } };
  const path = context.host.resolve(file.path, line.file);
  const part = await context.host.openFile(path, { access: context.readOnly ? 'read' : 'write' });
  files.push(part);
  if (line.type === 'SPARSE') return await sparseExtent(part, lengthBytes, startBytes, context);
  const content = { kind: 'flat', file: part, offsetBytes: line.offsetBytes } as const;
  return { startBytes, lengthBytes, content };
}

async function sparseExtent(
  file: HostFile,
  expectedBytes: number | undefined,
  startBytes: number,
  { host }: OpenContext,
): Promise<Extent> {
  const header = await readSparseHeader(file);
  const lengthBytes = expectedBytes ?? header.capacity;
  if (lengthBytes > header.capacity)
    throw new ImageError(
      'corrupt',
      `${file.path}: holds ${header.capacity} bytes, and the descriptor says ${lengthBytes}`,
      { path: file.path },
    );
  const sparse = new SparseExtent(file, header, await file.size(), host.codec);
  return { startBytes, lengthBytes, content: { kind: 'sparse', sparse } };
}

/** All sparse parts have grains of one size and, the last apart, whole ones. */
function checkUnits(file: HostFile, extents: readonly Extent[]): void {
  let grainBytes: number | undefined;
  for (const [index, { content, startBytes, lengthBytes }] of extents.entries()) {
    if (content.kind !== 'sparse') continue;
    grainBytes ??= content.sparse.header.grainBytes;
    const isLast = index === extents.length - 1;
    const isWhole = startBytes % grainBytes === 0 && (isLast || lengthBytes % grainBytes === 0);
    if (content.sparse.header.grainBytes === grainBytes && isWhole) continue;
    throw badAt('unsupported', file.path, 0, 'parts of a disk that do not meet at whole grains');
  }
}

async function parentOf(
  file: HostFile,
  { parentCid, parentName }: Descriptor,
  { host, anyBacking }: OpenContext,
): Promise<string | undefined> {
  if (parentCid === undefined || parentName === undefined) return undefined;
  const { name, cid } = await readIdentity(file, parentName, host);
  if (anyBacking || cid.padStart(8, '0') === parentCid.padStart(8, '0')) return name;
  throw changedParent(file.path, `${name}, of CID ${cid} and not ${parentCid},`);
}

function infoOf(
  descriptor: Descriptor,
  extents: readonly Extent[],
  backingName: string | undefined,
): ImageInfo {
  const sparse = extents.flatMap(({ content }) =>
    content.kind === 'sparse' ? [content.sparse.header] : [],
  );
  const clusterBytes = sparse[0]?.grainBytes;
  return {
    ...(clusterBytes === undefined ? {} : { clusterBytes }),
    ...(sparse.some(({ compressed }) => compressed) ? { compressed: true } : {}),
    ...(backingName === undefined ? {} : { backingName, backingFormat: FORMAT }),
    specific: {
      cid: Number.parseInt(descriptor.cid, 16),
      'parent-cid': Number.parseInt(descriptor.parentCid ?? 'ffffffff', 16),
      'create-type': descriptor.createType,
      extents: extents.map(infoOfExtent),
    },
  };
}

function infoOfExtent({ content, lengthBytes }: Extent): InfoValue {
  const size = { 'virtual-size': lengthBytes };
  if (content.kind === 'zero') return { ...size, filename: '', format: 'ZERO' };
  if (content.kind === 'flat') return { ...size, filename: content.file.path, format: 'FLAT' };
  const { file, header } = content.sparse;
  return {
    ...size,
    filename: file.path,
    'cluster-size': header.grainBytes,
    format: 'SPARSE',
    ...(header.compressed ? { compressed: true } : {}),
  };
}
