import { readPadded, tryReadPadded } from '../backing.ts';
import type { DiskImage } from '../image.ts';
import type { BlockMap, Run } from './block-map.ts';
import { continues } from './runs.ts';

/** Finds the runs of a disk, and reads them where they lie. */
export class RunReader {
  readonly #map: BlockMap;
  readonly #backing: DiskImage | undefined;

  constructor(map: BlockMap, backing: DiskImage | undefined) {
    this.#map = map;
    this.#backing = backing;
  }

  /** The longest run from `offsetBytes` on that one call of the host can serve. */
  async find(offsetBytes: number, lengthBytes: number): Promise<Run> {
    const found = this.#map.find(offsetBytes, lengthBytes);
    const first = found instanceof Promise ? await found : found;
    if (first.compressed === true) return first;
    let length = first.lengthBytes;
    while (length < lengthBytes) {
      const following = this.#map.find(offsetBytes + length, lengthBytes - length);
      const next = following instanceof Promise ? await following : following;
      if (!continues(first, length, next)) break;
      length += next.lengthBytes;
    }
    return { ...first, lengthBytes: length };
  }

  /** As `find`, where memory tells all of the range; undefined: it does not, or the range lies in several ways. */
  tryFind(offsetBytes: number, lengthBytes: number): Run | undefined {
    const first = this.#tryFirst(offsetBytes, lengthBytes);
    if (first === undefined || first.compressed === true) return undefined;
    for (let length = first.lengthBytes; length < lengthBytes; ) {
      const next = this.#tryFirst(offsetBytes + length, lengthBytes - length);
      if (next === undefined || !continues(first, length, next)) return undefined;
      length += next.lengthBytes;
    }
    return first;
  }

  #tryFirst(offsetBytes: number, lengthBytes: number): Run | undefined {
    const found = this.#map.find(offsetBytes, lengthBytes);
    if (!(found instanceof Promise)) return found;
    // Whoever asks next meets the error, too.
    found.catch(() => {});
    return undefined;
  }

  /** What {@link DiskImage.tryRead} does, of ranges that lie in one way. */
  tryRead(offsetBytes: number, into: readonly Uint8Array[], lengthBytes: number): boolean {
    const run = this.tryFind(offsetBytes, lengthBytes);
    if (run === undefined) return false;
    if (run.kind === 'data') return run.file?.tryRead?.(run.hostOffsetBytes ?? 0, into) ?? false;
    // Zeros are what no image has.
    const behind = run.kind === 'zero' ? undefined : this.#backing;
    return tryReadPadded(behind, offsetBytes, into, lengthBytes);
  }

  async read(run: Run, offsetBytes: number, into: Uint8Array): Promise<void> {
    if (run.kind === 'zero') into.fill(0);
    else if (run.kind === 'unallocated') await readPadded(this.#backing, offsetBytes, into);
    else if (run.compressed === true) await this.#map.readCompressed?.(run, offsetBytes, into);
    else await run.file?.read(run.hostOffsetBytes ?? 0, into);
  }

  readsAsZeros(run: Run, offsetBytes: number): boolean {
    if (run.kind === 'unallocated') return offsetBytes >= (this.#backing?.sizeBytes ?? 0);
    return run.kind === 'zero';
  }
}
