import type { Region } from './header.ts';
import * as v from './layout.ts';
import type { Metadata } from './metadata.ts';

/** Where in the BAT the entries of a disk stand (2.5): after those of each chunk comes one for its sector bitmap. */
export interface Bat {
  readonly offset: number;
  readonly units: number;
  readonly entries: number;
  readonly chunkRatio: number;
}

type Shape = Pick<Metadata, 'sizeBytes' | 'blockBytes' | 'sectorBytes' | 'parent'>;

export function batOf(shape: Shape, offset: number): Bat {
  const { sizeBytes, blockBytes, sectorBytes, parent } = shape;
  const chunkRatio = (v.CHUNK_SECTORS * sectorBytes) / blockBytes;
  const units = Math.ceil(sizeBytes / blockBytes);
  const whole = Math.ceil(units / chunkRatio) * (chunkRatio + 1);
  const entries =
    parent === undefined ? units + Math.floor(Math.max(0, units - 1) / chunkRatio) : whole;
  return { offset, units, entries, chunkRatio };
}

export function fits(bat: Bat, region: Region): boolean {
  return bat.entries * v.ENTRY_BYTES <= region.length;
}

export function entryAt(bat: Bat, unit: number): number {
  return bat.offset + (unit + Math.floor(unit / bat.chunkRatio)) * v.ENTRY_BYTES;
}

/** Place of the entry for the sector bitmap of the unit's chunk. */
export function bitmapEntryAt(bat: Bat, unit: number): number {
  const chunk = Math.floor(unit / bat.chunkRatio);
  return bat.offset + ((chunk + 1) * (bat.chunkRatio + 1) - 1) * v.ENTRY_BYTES;
}
