const SMALLEST_BYTES = 4096;
/** What is kept while no request needs it. */
const MOST_KEPT_BYTES = 8 << 20;
/** What requests have at once, but for one that is larger: a guest may ask for any number of them. */
const MOST_OUT_BYTES = 64 << 20;

/** Buffers that serve one request after the other: a new one of half a MiB costs as much as to read that much. */
export class BounceBuffers {
  /** By their size, a power of two. */
  readonly #free = new Map<number, ArrayBuffer[]>();
  #keptBytes = 0;
  #outBytes = 0;
  #waiting: (() => void)[] = [];

  hasRoom(lengthBytes: number): boolean {
    return this.#outBytes === 0 || this.#outBytes + sizeOf(lengthBytes) <= MOST_OUT_BYTES;
  }

  /** Resolves when one has been given back. */
  given(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }

  /** Holds anything. */
  take(lengthBytes: number): Uint8Array<ArrayBuffer> {
    const sizeBytes = sizeOf(lengthBytes);
    const kept = this.#free.get(sizeBytes)?.pop();
    if (kept !== undefined) this.#keptBytes -= sizeBytes;
    const buffer = kept ?? new ArrayBuffer(sizeBytes);
    this.#outBytes += sizeBytes;
    return new Uint8Array(buffer, 0, lengthBytes);
  }

  /** Takes back what `take` gave and nobody uses any more. */
  give({ buffer }: Uint8Array<ArrayBuffer>): void {
    const sizeBytes = buffer.byteLength;
    this.#outBytes -= sizeBytes;
    for (const resolve of this.#waiting.splice(0)) resolve();
    if (this.#keptBytes + sizeBytes > MOST_KEPT_BYTES) return;
    this.#keptBytes += sizeBytes;
    const others = this.#free.get(sizeBytes);
    if (others === undefined) this.#free.set(sizeBytes, [buffer]);
    else others.push(buffer);
  }
}

function sizeOf(lengthBytes: number): number {
  return Math.max(SMALLEST_BYTES, 2 ** Math.ceil(Math.log2(lengthBytes)));
}
