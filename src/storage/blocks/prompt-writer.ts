import type { BlockMap, Place } from './block-map.ts';
import type { KeyLock } from './key-lock.ts';
import type { RunReader } from './run-reader.ts';
import { adjoining, isInPlace } from './runs.ts';

export interface PromptWriterParts {
  readonly map: BlockMap;
  readonly runs: RunReader;
  /** Of units that are being allocated. */
  readonly locks: KeyLock;
}

/** Writes to a mapped disk within the call, where memory tells the place and the host takes it at once. */
export class PromptWriter {
  readonly #map: BlockMap;
  readonly #runs: RunReader;
  readonly #locks: KeyLock;

  constructor({ map, runs, locks }: PromptWriterParts) {
    this.#map = map;
    this.#runs = runs;
    this.#locks = locks;
  }

  /** False: it is not done, or not wholly. */
  tryWrite(offsetBytes: number, from: readonly Uint8Array[], lengthBytes: number): boolean {
    const run = this.#runs.tryFind(offsetBytes, lengthBytes);
    if (run === undefined) return false;
    if (isInPlace(run)) return run.file.tryWrite?.(run.hostOffsetBytes, from) ?? false;
    const { unitBytes } = this.#map;
    const units = lengthBytes / unitBytes;
    const isWhole = offsetBytes % unitBytes === 0 && Number.isInteger(units);
    return isWhole && this.#tryWriteUnits(offsetBytes / unitBytes, units, from);
  }

  /** Whole units, none of which is allocated yet, to room in one piece. */
  #tryWriteUnits(first: number, count: number, from: readonly Uint8Array[]): boolean {
    const places = this.#tryAllocate(first, count);
    const [run] = adjoining(places, this.#map.unitBytes);
    let linked = 0;
    if (run?.count === count && run.place.file.tryWrite?.(run.place.hostOffsetBytes, from) === true)
      for (const place of places) {
        if (this.#map.tryLink?.(first + linked, place) !== true) break;
        linked++;
      }
    abandon(this.#map, places.slice(linked));
    return linked === count;
  }

  /** Room for units from `first` on, as many of `count` as have it at once. */
  #tryAllocate(first: number, count: number): Place[] {
    const places: Place[] = [];
    if (this.#map.tryLink === undefined) return places;
    for (let unit = first; unit < first + count; unit++) {
      const place = this.#locks.isTaken(unit) ? undefined : this.#map.allocate?.(unit);
      if (place instanceof Promise)
        place.then((late) => abandon(this.#map, [late])).catch(() => {});
      if (place === undefined || place instanceof Promise) break;
      places.push(place);
    }
    return places;
  }
}

/** Room that nobody had before, and that nothing leads to: what was taken first is given out first again. */
export function abandon(map: BlockMap, places: readonly Place[]): void {
  for (const place of places.toReversed()) if (place.isNew === true) map.abandon?.(place);
}
