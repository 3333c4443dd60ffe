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
  /** Those that wait for room, first come, first served. */
  readonly #waiting: { readonly sizeBytes: number; readonly resolve: () => void }[] = [];

  #hasRoom(sizeBytes: number): boolean {
    return this.#outBytes === 0 || this.#outBytes + sizeBytes <= MOST_OUT_BYTES;
  }

  /** Resolves when there is room for it. Holds anything. */
  async take(lengthBytes: number): Promise<Uint8Array<ArrayBuffer>> {
    const sizeBytes = sizeOf(lengthBytes);
    if (this.#waiting.length === 0 && this.#hasRoom(sizeBytes)) this.#outBytes += sizeBytes;
    else
      await new Promise<void>((resolve) => {
        this.#waiting.push({ sizeBytes, resolve });
      });
    const kept = this.#free.get(sizeBytes)?.pop();
    if (kept !== undefined) this.#keptBytes -= sizeBytes;
    return new Uint8Array(kept ?? new ArrayBuffer(sizeBytes), 0, lengthBytes);
  }

  /** Takes back what `take` gave and nobody uses any more. */
  give({ buffer }: Uint8Array<ArrayBuffer>): void {
    const sizeBytes = buffer.byteLength;
    this.#outBytes -= sizeBytes;
    for (;;) {
      const [first] = this.#waiting;
      if (first === undefined || !this.#hasRoom(first.sizeBytes)) break;
      this.#waiting.shift();
      this.#outBytes += first.sizeBytes;
      first.resolve();
    }
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
