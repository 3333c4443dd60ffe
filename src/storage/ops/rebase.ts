import { readPadded } from '../backing.ts';
import { type DiskImage, SECTOR_BYTES } from '../image.ts';
import { firstDifference } from './compare.ts';
import type { OnProgress } from './copy.ts';
import { Flight } from './flight.ts';
import { readsAsZeros, type Status, statusAt } from './status.ts';

const CHUNK_BYTES = 1 << 20;
const PARALLEL = 4;
/** Differences are written in pieces of this size. */
const PIECE_BYTES = 4096;

export interface RebaseRequest {
  /** Opened for writing, with the backing image that it has had so far. */
  readonly image: DiskImage;
  /** What it shall read from; none: it will stand alone. */
  readonly newBacking: DiskImage | undefined;
  readonly signal?: AbortSignal;
  readonly onProgress?: OnProgress;
}

/** Writes into `image` all that it reads from its backing image and would not read from the new one. */
export async function copyWhatRebaseChanges(request: RebaseRequest): Promise<void> {
  await new Rebase(request).run();
}

class Rebase {
  readonly #request: RebaseRequest;
  readonly #flight = new Flight(PARALLEL);

  constructor(request: RebaseRequest) {
    this.#request = request;
  }

  async run(): Promise<void> {
    const { image, signal } = this.#request;
    try {
      for (let at = 0; at < image.sizeBytes; ) {
        signal?.throwIfAborted();
        at += await this.#step(at, image.sizeBytes - at);
      }
    } finally {
      await this.#flight.drain();
    }
  }

  async #step(at: number, lengthBytes: number): Promise<number> {
    const { image, newBacking, onProgress } = this.#request;
    const extent = await image.extent(at, lengthBytes);
    let length = extent.lengthBytes;
    if (extent.kind === 'unallocated') {
      const before = await paddedStatus(image.backing, at, length);
      const after = await paddedStatus(newBacking, at, before.lengthBytes);
      length = after.lengthBytes;
      if (!areSame(before, after)) {
        length = Math.min(length, CHUNK_BYTES);
        await this.#flight.add(() => this.#copy(at, length));
        return length;
      }
    }
    onProgress?.(length);
    return length;
  }

  async #copy(at: number, lengthBytes: number): Promise<void> {
    const { image, newBacking, onProgress } = this.#request;
    const [before, after] = [new Uint8Array(lengthBytes), new Uint8Array(lengthBytes)];
    await Promise.all([readPadded(image.backing, at, before), readPadded(newBacking, at, after)]);
    let start: number | undefined;
    for (let from = 0; from <= lengthBytes; from += PIECE_BYTES) {
      const to = from + PIECE_BYTES;
      const differs =
        from < lengthBytes &&
        firstDifference(before.subarray(from, to), after.subarray(from, to)) !== undefined;
      if (differs) start ??= from;
      else if (start !== undefined) {
        const end = Math.min(from, lengthBytes);
        await image.write(at + start, before.subarray(start, end));
        start = undefined;
      }
    }
    if (start !== undefined) await image.write(at + start, before.subarray(start));
    onProgress?.(lengthBytes);
  }
}

async function paddedStatus(
  image: DiskImage | undefined,
  at: number,
  lengthBytes: number,
): Promise<Status> {
  const there = image === undefined ? 0 : Math.min(lengthBytes, image.sizeBytes - at);
  if (image === undefined || there < SECTOR_BYTES)
    return { kind: 'zero', lengthBytes, depth: 0, decidedAt: 0, present: false };
  return await statusAt(image, at, there);
}

/** Whether two runs hold the same without a look: zeros, or one place of one file. */
function areSame(one: Status, other: Status): boolean {
  if (readsAsZeros(one) || readsAsZeros(other)) return readsAsZeros(one) && readsAsZeros(other);
  return (
    one.hostPath !== undefined &&
    one.hostPath === other.hostPath &&
    one.hostOffsetBytes === other.hostOffsetBytes
  );
}
