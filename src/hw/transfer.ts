import type { GuestMemory, Segment } from './guest-memory.ts';

/**
 * The guest memory of one request as one buffer: the memory itself where the pieces lie one behind another, else a copy,
 * because a request to the host costs more than copying.
 */
export class Transfer {
  readonly #memory: GuestMemory;
  readonly #pieces: readonly Segment[];
  readonly #buffer: Uint8Array;
  readonly #isCopy: boolean;

  private constructor(memory: GuestMemory, pieces: readonly Segment[], buffer: Uint8Array) {
    this.#memory = memory;
    this.#pieces = pieces;
    this.#buffer = buffer;
    this.#isCopy = pieces.length !== 1;
  }

  /** Undefined when a piece is not RAM. */
  static of(memory: GuestMemory, segments: readonly Segment[]): Transfer | undefined {
    const pieces = joined(segments);
    const [first] = pieces;
    if (pieces.length === 1 && first !== undefined) {
      const bytes = memory.bytes(first.paddr, first.lengthBytes);
      return bytes && new Transfer(memory, pieces, bytes);
    }
    let lengthBytes = 0;
    for (const piece of pieces) {
      if (memory.bytes(piece.paddr, piece.lengthBytes) === undefined) return undefined;
      lengthBytes += piece.lengthBytes;
    }
    return new Transfer(memory, pieces, new Uint8Array(lengthBytes));
  }

  get lengthBytes(): number {
    return this.#buffer.length;
  }

  /** What the guest gives. */
  fromGuest(): Uint8Array {
    if (!this.#isCopy) return this.#buffer;
    let at = 0;
    for (const { paddr, lengthBytes } of this.#pieces) {
      const bytes = this.#memory.bytes(paddr, lengthBytes);
      if (bytes !== undefined) this.#buffer.set(bytes, at);
      at += lengthBytes;
    }
    return this.#buffer;
  }

  /** To be filled for the guest, which sees it after `deliver`. */
  get forGuest(): Uint8Array {
    return this.#buffer;
  }

  deliver(): void {
    let at = 0;
    for (const { paddr, lengthBytes } of this.#pieces) {
      if (this.#isCopy)
        this.#memory.bytes(paddr, lengthBytes)?.set(this.#buffer.subarray(at, at + lengthBytes));
      this.#memory.wrote(paddr, lengthBytes);
      at += lengthBytes;
    }
  }
}

/** The same bytes in as few pieces as they lie in. */
function joined(segments: readonly Segment[]): Segment[] {
  const pieces: Segment[] = [];
  for (const segment of segments) {
    const last = pieces.at(-1);
    if (segment.lengthBytes === 0) continue;
    if (last === undefined || last.paddr + last.lengthBytes !== segment.paddr) pieces.push(segment);
    else
      pieces[pieces.length - 1] = {
        paddr: last.paddr,
        lengthBytes: last.lengthBytes + segment.lengthBytes,
      };
  }
  return pieces;
}
