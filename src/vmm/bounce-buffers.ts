const SMALLEST_BYTES = 4096;
/** What is kept while no request needs it. */
const MOST_KEPT_BYTES = 8 << 20;

/** Buffers that serve one request after the other: a new one of half a MiB costs as much as to read that much. */
export class BounceBuffers {
  /** By their size, a power of two. */
  readonly #free = new Map<number, ArrayBuffer[]>();
  #keptBytes = 0;

  /** Holds anything. */
  take(lengthBytes: number): Uint8Array<ArrayBuffer> {
    const sizeBytes = Math.max(SMALLEST_BYTES, 2 ** Math.ceil(Math.log2(lengthBytes)));
    const kept = this.#free.get(sizeBytes)?.pop();
    if (kept !== undefined) this.#keptBytes -= sizeBytes;
    return new Uint8Array(kept ?? new ArrayBuffer(sizeBytes), 0, lengthBytes);
  }

  /** Takes back what `take` gave and nobody uses any more. */
  give({ buffer }: Uint8Array<ArrayBuffer>): void {
    const sizeBytes = buffer.byteLength;
    if (this.#keptBytes + sizeBytes > MOST_KEPT_BYTES) return;
    this.#keptBytes += sizeBytes;
    const others = this.#free.get(sizeBytes);
    if (others === undefined) this.#free.set(sizeBytes, [buffer]);
    else others.push(buffer);
  }
}
