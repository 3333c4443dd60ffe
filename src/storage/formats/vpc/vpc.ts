import { backingFileOption } from '../../blocks/backing-option.ts';
import type { BlockMap } from '../../blocks/block-map.ts';
import { FlatMap } from '../../blocks/flat-map.ts';
import { MappedImage } from '../../blocks/mapped-image.ts';
import {
  type CreateRequest,
  type DiskImage,
  type HostFile,
  ImageError,
  type ImageFormat,
  type OpenContext,
} from '../../image.ts';
import { blocksEnd, check } from './check.ts';
import { create, planOf } from './create.ts';
import { readDynamicHeader } from './dynamic-header.ts';
import { type Footer, isFooter, readFooter, resizedFooter } from './footer.ts';
import * as v from './layout.ts';
import { findParent } from './parent.ts';
import { VpcMap } from './vpc-map.ts';

const FORMAT = 'vpc';

interface Opened {
  readonly map: BlockMap;
  readonly backing?: DiskImage | undefined;
}

async function open(file: HostFile, context: OpenContext): Promise<DiskImage> {
  try {
    const footer = await readFooter(file);
    const opened =
      footer.type === v.TYPE_FIXED
        ? { map: await openFixed(file, footer) }
        : await openDynamic(file, footer, context);
    const { readOnly } = context;
    const { map, backing } = opened;
    return new MappedImage({ format: FORMAT, path: file.path, readOnly, backing, map });
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function openFixed(file: HostFile, footer: Footer): Promise<BlockMap> {
  // The geometry may say more than the file has: the footer is not of the disk.
  const there = Math.max(0, (await file.size()) - v.FOOTER_BYTES);
  const sizeBytes = Math.min(footer.sizeBytes, there);
  const resize = (toBytes: number): Promise<void> => moveFooter(file, footer, toBytes);
  return new FlatMap(file, { startBytes: 0, sizeBytes, info: {}, fixed: true, resize });
}

/** The new footer is there before the old one, which becomes a part of the disk, goes. */
async function moveFooter(file: HostFile, footer: Footer, sizeBytes: number): Promise<void> {
  const oldBytes = Math.max(0, (await file.size()) - v.FOOTER_BYTES);
  if (sizeBytes > v.MAX_SIZE_BYTES)
    throw new ImageError(
      'unsupported',
      `${file.path}: VHD images hold at most 2040 GiB; convert it to vhdx for more`,
      { path: file.path },
    );
  await file.write(sizeBytes, resizedFooter(footer, sizeBytes).bytes);
  await file.flush();
  if (sizeBytes < oldBytes) await file.truncate(sizeBytes + v.FOOTER_BYTES);
  else await file.write(oldBytes, new Uint8Array(Math.min(v.FOOTER_BYTES, sizeBytes - oldBytes)));
  await file.flush();
}

async function openDynamic(file: HostFile, footer: Footer, context: OpenContext): Promise<Opened> {
  const header = await readDynamicHeader(file, footer);
  const state = {
    readOnly: context.readOnly,
    fileBytes: await file.size(),
    endBytes: await blocksEnd(file),
  };
  const clusterBytes = header.blockBytes;
  if (footer.type === v.TYPE_DYNAMIC)
    return { map: new VpcMap(file, footer, header, { ...state, info: { clusterBytes } }) };
  const backingName = await findParent(file, header, context.host);
  const info = { clusterBytes, backingName, backingFormat: FORMAT };
  const map = new VpcMap(file, footer, header, { ...state, info });
  return { map, backing: await context.openBacking(file.path, backingName, FORMAT) };
}

function measure(
  request: CreateRequest,
  dataBytes: number,
): { required: number; fullyAllocated: number } {
  const { type, sizeBytes, entries, tableEnd } = planOf(request);
  if (type === v.TYPE_FIXED) {
    const bytes = sizeBytes + v.FOOTER_BYTES;
    return { required: bytes, fullyAllocated: bytes };
  }
  const bytesFor = (blocks: number): number =>
    tableEnd + blocks * (v.BLOCK_BYTES + v.FOOTER_BYTES) + v.FOOTER_BYTES;
  const dataBlocks = Math.ceil(dataBytes / v.BLOCK_BYTES);
  return { required: bytesFor(dataBlocks), fullyAllocated: bytesFor(entries) };
}

/** Microsoft's VHD, under the name that qemu-img has for it: fixed, dynamic and differencing images. */
export const vpc: ImageFormat = {
  name: FORMAT,
  probe: (head, tail) => isFooter(head) || isFooter(tail),
  open,
  createOptions: [
    { name: 'subformat', type: 'text', about: 'dynamic (the default) or fixed' },
    {
      name: 'force_size',
      type: 'bool',
      about:
        'the size exactly (the default); off: rounded up to what a geometry of Virtual PC says',
    },
    backingFileOption(FORMAT),
  ],
  create,
  check,
  measure,
};
