import type { GuestMemory, Segment } from './guest-memory.ts';

/**
 * The guest memory of one request: in pieces as it lies, or as one buffer, which is the memory itself where the pieces lie
 * one behind another, else a copy, because a request to another thread costs more than copying.
 */
export class Transfer {
  /** In the guest's memory. */
  readonly pieces: readonly Uint8Array[];
  readonly lengthBytes: number;
  readonly #memory: GuestMemory;
  readonly #segments: readonly Segment[];
  #buffer: Uint8Array | undefined;

  private constructor(
    memory: GuestMemory,
    segments: readonly Segment[],
    pieces: readonly Uint8Array[],
    lengthBytes: number,
  ) {
    this.#memory = memory;
    this.#segments = segments;
    this.pieces = pieces;
    this.lengthBytes = lengthBytes;
  }

  /** Undefined when a piece is not RAM. */
  static of(memory: GuestMemory, segments: readonly Segment[]): Transfer | undefined {
    const parts = joined(segments);
    const pieces: Uint8Array[] = [];
    let lengthBytes = 0;
    for (const part of parts) {
      const bytes = memory.bytes(part.paddr, part.lengthBytes);
      if (bytes === undefined) return undefined;
      pieces.push(bytes);
      lengthBytes += part.lengthBytes;
    }
    return new Transfer(memory, parts, pieces, lengthBytes);
  }

  get #isCopy(): boolean {
    return this.pieces.length !== 1;
  }

  /** What the guest gives. */
  fromGuest(): Uint8Array {
    const buffer = this.forGuest;
    if (!this.#isCopy) return buffer;
    let at = 0;
    for (const piece of this.pieces) {
      buffer.set(piece, at);
      at += piece.length;
    }
    return buffer;
  }

  /** To be filled for the guest, which sees it after `deliver`. */
  get forGuest(): Uint8Array {
    const [first] = this.pieces;
    this.#buffer ??= this.#isCopy || !first ? new Uint8Array(this.lengthBytes) : first;
    return this.#buffer;
  }

  /** What was for the guest has been filled: the buffer, or the pieces. */
  deliver(): void {
    let at = 0;
    const buffer = this.#isCopy ? this.#buffer : undefined;
    for (const [index, { paddr, lengthBytes }] of this.#segments.entries()) {
      if (buffer !== undefined) this.pieces[index]?.set(buffer.subarray(at, at + lengthBytes));
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
