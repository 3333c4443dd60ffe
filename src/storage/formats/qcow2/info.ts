import type { ImageInfo, InfoValue, Snapshot } from '../../image.ts';
import { type BitmapEntry, FLAG_AUTO, FLAG_IN_USE } from './bitmaps.ts';
import * as q from './layout.ts';
import type { Metadata } from './metadata.ts';

/** What `info` shows, under the names that qemu-img uses. */
export function describe(
  meta: Metadata,
  snapshots: readonly Snapshot[],
  bitmaps: readonly BitmapEntry[],
): ImageInfo {
  const { header } = meta;
  const hasFeature = (bit: number): boolean => (header.incompatible & bit) !== 0;
  const v3: { [key: string]: InfoValue } = {
    'lazy-refcounts': meta.isLazy,
    ...(bitmaps.length === 0 ? {} : { bitmaps: bitmaps.map(describeBitmap) }),
    'refcount-bits': header.refcountBits,
    corrupt: hasFeature(q.INCOMPATIBLE_CORRUPT),
    'extended-l2': header.extendedL2,
  };
  if (meta.data !== meta.file) {
    v3['data-file'] = header.dataFile ?? meta.data.path;
    v3['data-file-raw'] = (header.autoclear & q.AUTOCLEAR_RAW_DATA) !== 0;
  }
  return {
    clusterBytes: meta.clusterBytes,
    dirty: hasFeature(q.INCOMPATIBLE_DIRTY),
    snapshots,
    ...(header.backingName === undefined ? {} : { backingName: header.backingName }),
    ...(header.backingFormat === undefined ? {} : { backingFormat: header.backingFormat }),
    specific: {
      compat: header.version === 3 ? '1.1' : '0.10',
      'compression-type': header.compression,
      ...(header.version === 3 ? v3 : { 'refcount-bits': 16 }),
    },
  };
}

function describeBitmap({ name, flags, granularityBits }: BitmapEntry): InfoValue {
  const inUse = (flags & FLAG_IN_USE) === 0 ? [] : ['in-use'];
  const auto = (flags & FLAG_AUTO) === 0 ? [] : ['auto'];
  return { flags: [...inUse, ...auto], name, granularity: 2 ** granularityBits };
}
