import type { GuestMemory, Segment } from './guest-memory.ts';

/** The guest memory of one request, in as few pieces as it lies in. */
export class Transfer {
  /** In the guest's memory. */
  readonly pieces: readonly Uint8Array[];
  readonly lengthBytes: number;
  readonly #memory: GuestMemory;
  /** Where each piece begins. */
  readonly #paddrs: readonly number[];

  private constructor(
    memory: GuestMemory,
    paddrs: readonly number[],
    pieces: readonly Uint8Array[],
    lengthBytes: number,
  ) {
    this.#memory = memory;
    this.#paddrs = paddrs;
    this.pieces = pieces;
    this.lengthBytes = lengthBytes;
  }

  /** Undefined when a piece is not RAM. */
  static of(memory: GuestMemory, segments: readonly Segment[]): Transfer | undefined {
    const paddrs: number[] = [];
    const pieces: Uint8Array[] = [];
    let totalBytes = 0;
    for (let index = 0; index < segments.length; ) {
      const run = runAt(segments, index);
      index = run.next;
      if (run.lengthBytes === 0) continue;
      const bytes = memory.bytes(run.paddr, run.lengthBytes);
      if (bytes === undefined) return undefined;
      paddrs.push(run.paddr);
      pieces.push(bytes);
      totalBytes += run.lengthBytes;
    }
    return new Transfer(memory, paddrs, pieces, totalBytes);
  }

  /** The pieces have been filled for the guest, or begun to be. */
  deliver(): void {
    for (const [index, paddr] of this.#paddrs.entries())
      this.#memory.wrote(paddr, this.pieces[index]?.length ?? 0);
  }
}

interface SegmentRun extends Segment {
  /** The segment behind it. */
  readonly next: number;
}

/** Segments from `index` on that lie one behind another. */
function runAt(segments: readonly Segment[], index: number): SegmentRun {
  const paddr = segments[index]?.paddr ?? 0;
  let lengthBytes = segments[index]?.lengthBytes ?? 0;
  let next = index + 1;
  for (; next < segments.length; next++) {
    const segment = segments[next];
    if (segment?.paddr !== paddr + lengthBytes) break;
    lengthBytes += segment.lengthBytes;
  }
  return { paddr, lengthBytes, next };
}
