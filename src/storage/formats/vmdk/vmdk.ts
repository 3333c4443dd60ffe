import { latin1Text } from '#base/latin1.ts';
import { backingFileOption } from '../../blocks/backing-option.ts';
import { type CreateRequest, type ImageFormat, SECTOR_BYTES } from '../../image.ts';
import { create, planOf, sparseLayout, UNDEFINED_VERSION } from './create.ts';
import * as v from './layout.ts';
import { open } from './open.ts';
import { isSparse } from './sparse-header.ts';

const PROBE_TEXT_BYTES = 1024;

function probe(head: Uint8Array): boolean {
  if (isSparse(head)) return true;
  const text = latin1Text(head.subarray(0, PROBE_TEXT_BYTES));
  return text.startsWith(v.MAGIC_COW) || text.trimStart().startsWith(v.DESCRIPTOR_START);
}

function measure(
  request: CreateRequest,
  dataBytes: number,
): { required: number; fullyAllocated: number } {
  const { sizeBytes, subformat } = planOf(request);
  if (subformat === 'monolithicFlat' || subformat === 'twoGbMaxExtentFlat')
    return { required: sizeBytes, fullyAllocated: sizeBytes };
  const { overhead } = sparseLayout(sizeBytes, subformat === 'streamOptimized');
  const bytesFor = (bytes: number): number =>
    overhead * SECTOR_BYTES + Math.ceil(bytes / v.GRAIN_BYTES) * v.GRAIN_BYTES;
  return { required: bytesFor(dataBytes), fullyAllocated: bytesFor(sizeBytes) };
}

/** VMware's format: one file or many, sparse, flat or compressed, and images that differ from others. */
export const vmdk: ImageFormat = {
  name: 'vmdk',
  probe,
  open,
  createOptions: [
    {
      name: 'adapter_type',
      type: 'text',
      about: 'ide (the default), lsilogic, buslogic, legacyESX',
    },
    backingFileOption('vmdk'),
    { name: 'backing_fmt', type: 'text', about: 'its format: vmdk' },
    { name: 'compat6', type: 'bool', about: 'virtual hardware version 6', byDefault: false },
    {
      name: 'hwversion',
      type: 'text',
      about: 'virtual hardware version; default 4',
      byDefault: UNDEFINED_VERSION,
    },
    { name: 'toolsversion', type: 'text', about: 'version of the VMware tools in the guest' },
    {
      name: 'subformat',
      type: 'text',
      about:
        'monolithicSparse (the default), monolithicFlat, twoGbMaxExtentSparse, twoGbMaxExtentFlat or streamOptimized',
    },
    { name: 'zeroed_grain', type: 'bool', about: 'let grains of zeros take no room' },
  ],
  compressesAll: (options) => options.get('subformat') === 'streamOptimized',
  create,
  // Loaded with the first check: most who open an image make none.
  check: async (...given) => (await import('./check.ts')).check(...given),
  measure,
};
