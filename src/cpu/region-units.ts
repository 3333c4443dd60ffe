import {
  type KeptBatch,
  type KeptRegion,
  type PackedRegions,
  packRegions,
  unpackRegions,
} from './kept-regions.ts';
import type { CompiledRegion } from './region-compiler.ts';

/** A region in use. */
export interface LiveRegion extends CompiledRegion {
  readonly unit: Unit;
  /** Its place among those of the unit. */
  readonly index: number;
}

/** A module of which an instance has been made. */
export interface Unit {
  readonly wasm: Uint8Array<ArrayBuffer>;
  readonly module: WebAssembly.Module;
  /** What has come to life in this run. */
  readonly regions: (KeptRegion | undefined)[];
  /** What an earlier run has left. */
  readonly kept?: KeptBatch;
  /** Slots whose functions are in place for regions that have not come to life. */
  readonly reserved: (number | undefined)[];
  /** Those that gave up too often: others have been made in their place. */
  readonly outdated: Set<number>;
}

/** A module of which regions have come to life, with the functions of those that live now. */
export interface UsedBatch extends KeptBatch {
  readonly functions: readonly unknown[];
}

/** What is known of a module's regions, for a later run. */
export function descriptions({ kept, regions, outdated }: Unit): PackedRegions {
  if (kept !== undefined && outdated.size === 0 && !regions.some((r) => r !== undefined))
    return kept.regions;
  const known = kept === undefined ? regions : unpackRegions(kept);
  return packRegions(
    known.map((region, i) => (outdated.has(i) ? undefined : (region ?? regions[i]))),
  );
}
