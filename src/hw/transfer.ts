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
      const paddr = segments[index]?.paddr ?? 0;
      let lengthBytes = 0;
      // Segments that lie one behind another.
      for (; segments[index]?.paddr === paddr + lengthBytes; index++)
        lengthBytes += segments[index]?.lengthBytes ?? 0;
      if (lengthBytes === 0) continue;
      const bytes = memory.bytes(paddr, lengthBytes);
      if (bytes === undefined) return undefined;
      paddrs.push(paddr);
      pieces.push(bytes);
      totalBytes += lengthBytes;
    }
    return new Transfer(memory, paddrs, pieces, totalBytes);
  }

  /** The pieces have been filled for the guest, or begun to be. */
  deliver(): void {
    for (let index = 0; index < this.pieces.length; index++)
      this.#memory.wrote(this.#paddrs[index] ?? 0, this.pieces[index]?.length ?? 0);
  }
}
