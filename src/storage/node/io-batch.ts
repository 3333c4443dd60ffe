/** How many batches the worker may have at once, so that one is filled while it does the other. */
export const SLOTS = 2;
/** Requests and bytes of one batch. */
export const SLOT_REQUESTS = 64;
export const SLOT_BYTES = 512 * 1024;

/** Words of `control`: the doorbell, then for each slot whether it is posted. */
export const DOORBELL = 0;
export const POSTED = 1;

/** What a batch tells the worker and what it answers, in shared memory. */
export interface BatchMemory {
  readonly control: Int32Array<SharedArrayBuffer>;
  /** Requests in each slot. */
  readonly counts: Int32Array<SharedArrayBuffer>;
  /** Where in the file. */
  readonly offsets: Float64Array<SharedArrayBuffer>;
  /** Bytes; negative for writes. */
  readonly lengths: Int32Array<SharedArrayBuffer>;
  /** Bytes that were done; -1: it failed. */
  readonly results: Int32Array<SharedArrayBuffer>;
  readonly data: Uint8Array<SharedArrayBuffer>;
}

/** New shared memory for batches. */
export function batchMemory(): BatchMemory {
  const words = (count: number) => new Int32Array(new SharedArrayBuffer(count * 4));
  return {
    control: words(POSTED + SLOTS),
    counts: words(SLOTS),
    offsets: new Float64Array(new SharedArrayBuffer(SLOTS * SLOT_REQUESTS * 8)),
    lengths: words(SLOTS * SLOT_REQUESTS),
    results: words(SLOTS * SLOT_REQUESTS),
    data: new Uint8Array(new SharedArrayBuffer(SLOTS * SLOT_BYTES)),
  };
}
