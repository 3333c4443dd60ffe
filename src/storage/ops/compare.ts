import { quickBytes } from '../aligned.ts';
import { type DiskImage, SECTOR_BYTES } from '../image.ts';
import type { OnProgress } from './copy.ts';
import { Flight } from './flight.ts';
import { isData, readsAsZeros, type Status, statusAt } from './status.ts';

const CHUNK_BYTES = 1 << 20;
const PARALLEL = 4;

export interface CompareRequest {
  readonly first: DiskImage;
  readonly second: DiskImage;
  /** Whether another size, and another kind of allocation, is a difference. */
  readonly strict: boolean;
  /** How the host tells at once whether bytes are the same. */
  readonly areSame?: (a: Uint8Array, b: Uint8Array) => boolean;
  readonly signal?: AbortSignal;
  readonly onProgress?: OnProgress;
}

export interface Comparison {
  readonly difference?: 'size' | 'status' | 'content';
  /** The first sector that differs. */
  readonly offsetBytes?: number;
  /** Told even when all that the shorter disk lacks is zeros. */
  readonly sizesDiffer: boolean;
}

/** Compares what a guest would see. */
export async function compareDisks(request: CompareRequest): Promise<Comparison> {
  const { first, second, strict } = request;
  const sizesDiffer = first.sizeBytes !== second.sizeBytes;
  if (strict && sizesDiffer) return { difference: 'size', sizesDiffer };
  const common = Math.min(first.sizeBytes, second.sizeBytes);
  const found = await new Comparer(request).run(0, common);
  if (found !== undefined) return { ...found, sizesDiffer: false };
  const larger = first.sizeBytes > second.sizeBytes ? first : second;
  const beyond = await new Comparer({ ...request, first: larger, second: larger }, true).run(
    common,
    larger.sizeBytes,
  );
  return { ...beyond, sizesDiffer };
}

type Difference = { readonly difference: 'status' | 'content'; readonly offsetBytes: number };

class Comparer {
  readonly #request: CompareRequest;
  /** Compares the first disk with zeros instead of the second. */
  readonly #withZeros: boolean;
  readonly #flight = new Flight(PARALLEL);
  readonly #buffers: Uint8Array[] = [];
  #found: Difference | undefined;

  constructor(request: CompareRequest, withZeros = false) {
    this.#request = request;
    this.#withZeros = withZeros;
  }

  async run(startBytes: number, endBytes: number): Promise<Difference | undefined> {
    try {
      for (let at = startBytes; at < endBytes && this.#found === undefined; ) {
        this.#request.signal?.throwIfAborted();
        at += await this.#step(at, endBytes - at);
      }
    } finally {
      await this.#flight.drain();
    }
    return this.#found;
  }

  async #step(at: number, lengthBytes: number): Promise<number> {
    const { first, second, strict } = this.#request;
    const one = await statusAt(first, at, lengthBytes);
    const other: Status = this.#withZeros
      ? { kind: 'zero', lengthBytes, depth: 0, decidedAt: 0, present: false }
      : await statusAt(second, at, one.lengthBytes);
    const length = Math.min(one.lengthBytes, other.lengthBytes);
    if (strict && !areAlike(one, other)) {
      this.#note({ difference: 'status', offsetBytes: at });
      return length;
    }
    if (readsAsZeros(one) && readsAsZeros(other)) {
      this.#request.onProgress?.(length);
      return length;
    }
    const chunk = Math.min(length, CHUNK_BYTES);
    await this.#flight.add(() => this.#compareChunk(at, chunk, one, other));
    return chunk;
  }

  async #compareChunk(at: number, lengthBytes: number, one: Status, other: Status): Promise<void> {
    const { first, second, areSame, onProgress } = this.#request;
    const [a, b] = await Promise.all([
      this.#read(first, at, lengthBytes, one),
      this.#read(second, at, lengthBytes, other),
    ]);
    const index = areSame?.(a, b) === true ? undefined : firstDifference(a, b);
    this.#buffers.push(a, b);
    if (index !== undefined)
      this.#note({ difference: 'content', offsetBytes: at + index - (index % SECTOR_BYTES) });
    onProgress?.(lengthBytes);
  }

  async #read(
    image: DiskImage,
    at: number,
    lengthBytes: number,
    status: Status,
  ): Promise<Uint8Array> {
    const free = this.#buffers.pop();
    const buffer = free?.buffer.byteLength === CHUNK_BYTES ? free : quickBytes(CHUNK_BYTES);
    const bytes = new Uint8Array(buffer.buffer, 0, lengthBytes);
    if (readsAsZeros(status)) bytes.fill(0);
    else await image.read(at, bytes);
    return bytes;
  }

  #note(found: Difference): void {
    if (this.#found === undefined || found.offsetBytes < this.#found.offsetBytes)
      this.#found = found;
  }
}

/** Whether two images say the same of a run, and both have a place for it or none. */
function areAlike(one: Status, other: Status): boolean {
  return (
    one.kind === other.kind &&
    one.present === other.present &&
    isData(one) === isData(other) &&
    (one.hostOffsetBytes === undefined) === (other.hostOffsetBytes === undefined)
  );
}

/** Index of the first byte that differs; both are of one length. */
export function firstDifference(a: Uint8Array, b: Uint8Array): number | undefined {
  const words = a.length >>> 2;
  let index = 0;
  if ((a.byteOffset & 3) === 0 && (b.byteOffset & 3) === 0) {
    const left = new Int32Array(a.buffer, a.byteOffset, words);
    const right = new Int32Array(b.buffer, b.byteOffset, words);
    while (index < words && left[index] === right[index]) index++;
    index *= 4;
  }
  for (; index < a.length; index++) if (a[index] !== b[index]) return index;
  return undefined;
}
