import { latin1Text } from '#base/latin1.ts';
import { backingFileOption } from '../../blocks/backing-option.ts';
import { badAt } from '../../blocks/fields.ts';
import { MappedImage } from '../../blocks/mapped-image.ts';
import type { CreateRequest, DiskImage, HostFile, ImageFormat, OpenContext } from '../../image.ts';
import { batOf, fits } from './bat.ts';
import { create, planOf } from './create.ts';
import { readHeader, readRegions, regionOf } from './header.ts';
import * as v from './layout.ts';
import { applyReplay, readLog } from './log.ts';
import { readMetadata } from './metadata.ts';
import { dataWriteOf, findParent } from './parent.ts';
import { VhdxMap } from './vhdx-map.ts';

const FORMAT = 'vhdx';

async function open(original: HostFile, context: OpenContext): Promise<DiskImage> {
  try {
    return await openParts(original, context);
  } catch (error) {
    await original.close();
    throw error;
  }
}

async function openParts(original: HostFile, context: OpenContext): Promise<DiskImage> {
  const { readOnly } = context;
  const header = await readHeader(original);
  const replay = await readLog(original, header);
  const file = replay === undefined ? original : await applyReplay(original, replay, readOnly);
  const regions = await readRegions(file);
  const metadataRegion = regionOf(regions, v.REGION_METADATA, file.path);
  const metadata = await readMetadata(file, metadataRegion);
  const batRegion = regionOf(regions, v.REGION_BAT, file.path);
  const fileBytes = await file.size();
  const isThere = batRegion.offset + batRegion.length <= fileBytes;
  if (!isThere || !fits(batOf(metadata, batRegion.offset), batRegion))
    throw badAt('corrupt', file.path, batRegion.offset, 'the BAT is too small for the disk');
  const { parent } = metadata;
  const backingName = parent && (await findParent(file, parent, context));
  const backing =
    backingName === undefined
      ? undefined
      : await context.openBacking(file.path, backingName, FORMAT);
  const info = {
    clusterBytes: metadata.blockBytes,
    ...(backingName === undefined ? {} : { backingName, backingFormat: FORMAT }),
  };
  const { host } = context;
  const parentState =
    backingName === undefined
      ? undefined
      : () => dataWriteOf(host.resolve(file.path, backingName), host);
  const parts = { file, readOnly, header, batRegion, metadataRegion, metadata, fileBytes, info };
  const map = new VhdxMap({ ...parts, parentState });
  return new MappedImage({ format: FORMAT, path: file.path, readOnly, backing, map });
}

function measure(
  request: CreateRequest,
  dataBytes: number,
): { required: number; fullyAllocated: number } {
  const { dataOffset, units, blockBytes, isFixed } = planOf(request);
  const fullyAllocated = dataOffset + units * blockBytes;
  const dataBlocks = Math.ceil(dataBytes / blockBytes);
  return {
    required: isFixed ? fullyAllocated : dataOffset + dataBlocks * blockBytes,
    fullyAllocated,
  };
}

/** Hyper-V's format: fixed, dynamic and differencing images. */
export const vhdx: ImageFormat = {
  name: FORMAT,
  probe: (head) => latin1Text(head.subarray(0, 8)) === v.SIGNATURE,
  open,
  createOptions: [
    { name: 'log_size', type: 'size', about: 'whole MiB; default 1M', byDefault: 1 << 20 },
    {
      name: 'block_size',
      type: 'size',
      about: '1M to 256M; 0, the default: by the size',
      byDefault: 0,
    },
    { name: 'subformat', type: 'text', about: 'dynamic (the default) or fixed' },
    {
      name: 'block_state_zero',
      type: 'bool',
      about: 'changes nothing: new blocks are not present, which reads as zeros',
    },
    backingFileOption(FORMAT),
  ],
  create,
  // Loaded with the first check: most who open an image make none.
  check: async (file, request) => (await import('./check.ts')).check(file, request),
  measure,
};
