/**
 * Console input, from the device thread to the vCPU's: a ring of bytes in shared memory. One writer, one reader.
 * Words 0 and 1 of the control part are the counts of bytes read and written.
 */
const READ = 0;
const WRITTEN = 1;
const CONTROL_BYTES = 8;
const RING_BYTES = 65536;
export const MAILBOX_BYTES = CONTROL_BYTES + RING_BYTES;

export class InputRing {
  readonly #counts: Int32Array;
  readonly #bytes: Uint8Array;

  constructor(buffer: ArrayBufferLike, address: number) {
    this.#counts = new Int32Array(buffer, address, 2);
    this.#bytes = new Uint8Array(buffer, address + CONTROL_BYTES, RING_BYTES);
  }

  /** Bytes taken over; the rest did not fit. */
  write(bytes: Uint8Array): number {
    const written = Atomics.load(this.#counts, WRITTEN);
    const room = RING_BYTES - ((written - Atomics.load(this.#counts, READ)) >>> 0);
    const count = Math.min(room, bytes.length);
    for (let i = 0; i < count; i++) this.#bytes[((written + i) >>> 0) % RING_BYTES] = bytes[i] ?? 0;
    Atomics.store(this.#counts, WRITTEN, (written + count) | 0);
    return count;
  }

  /** The next byte without taking it, or -1. */
  peek(): number {
    const read = Atomics.load(this.#counts, READ);
    if (read === Atomics.load(this.#counts, WRITTEN)) return -1;
    return this.#bytes[(read >>> 0) % RING_BYTES] ?? 0;
  }

  /** Takes the byte that `peek` gave. */
  take(): void {
    Atomics.add(this.#counts, READ, 1);
  }
}
