import type { HostFile } from '../../image.ts';
import type { SparseExtent } from './sparse-extent.ts';

/** A part of the disk, in the order of the descriptor. */
export interface Extent {
  readonly startBytes: number;
  readonly lengthBytes: number;
  readonly content:
    | { readonly kind: 'sparse'; readonly sparse: SparseExtent }
    | { readonly kind: 'flat'; readonly file: HostFile; readonly offsetBytes: number }
    | { readonly kind: 'zero' };
}
