import { Worker } from 'node:worker_threads';
import {
  type BatchMemory,
  batchMemory,
  DOORBELL,
  POSTED,
  SLOT_BYTES,
  SLOT_REQUESTS,
  SLOTS,
} from './io-batch.ts';

/** A read or a write of a file. */
export interface IoRequest {
  readonly isWrite: boolean;
  readonly offsetBytes: number;
  readonly bytes: Uint8Array;
  /** Called with the bytes that were done. */
  readonly done: (count: number) => void;
  readonly fail: (error: Error) => void;
}

/** A thread that does many small requests at once. It keeps the process alive only while it works. */
export class BatchWorker {
  readonly #memory: BatchMemory = batchMemory();
  readonly #slots: ((answer: 'done' | 'broken') => void)[] = [];
  #worker: Worker | undefined;
  #isOnline = false;

  constructor(fd: number) {
    const worker = new Worker(new URL('./io-worker.ts', import.meta.url), {
      workerData: { fd, memory: this.#memory },
    });
    this.#worker = worker;
    worker.unref();
    worker.once('online', () => {
      this.#isOnline = true;
    });
    worker.on('message', (slot: number) => this.#end(slot, 'done'));
    // Whatever ends it: the requests are done by other means.
    worker.once('error', () => this.#break());
    worker.once('exit', () => this.#break());
  }

  /** A slot for another batch; -1: none, or the thread is not there. */
  get freeSlot(): number {
    if (!this.#isOnline) return -1;
    for (let slot = 0; slot < SLOTS; slot++) if (this.#slots[slot] === undefined) return slot;
    return -1;
  }

  /** Whether one batch takes all of these. */
  static fits(requests: readonly IoRequest[]): boolean {
    if (requests.length > SLOT_REQUESTS) return false;
    let bytes = 0;
    for (const request of requests) bytes += request.bytes.length;
    return bytes <= SLOT_BYTES;
  }

  /** Does the requests; `then` gets those that the thread did not do. */
  run(slot: number, requests: readonly IoRequest[], then: (rest: IoRequest[]) => void): void {
    const { control, counts, offsets, lengths, data } = this.#memory;
    let at = slot * SLOT_BYTES;
    requests.forEach(({ isWrite, offsetBytes, bytes }, index) => {
      offsets[slot * SLOT_REQUESTS + index] = offsetBytes;
      lengths[slot * SLOT_REQUESTS + index] = isWrite ? -bytes.length : bytes.length;
      if (isWrite) data.set(bytes, at);
      at += bytes.length;
    });
    this.#slots[slot] = (answer) =>
      then(answer === 'done' ? this.#collect(slot, requests) : [...requests]);
    this.#worker?.ref();
    Atomics.store(counts, slot, requests.length);
    Atomics.store(control, POSTED + slot, 1);
    Atomics.add(control, DOORBELL, 1);
    Atomics.notify(control, DOORBELL);
  }

  async close(): Promise<void> {
    await this.#worker?.terminate();
  }

  #collect(slot: number, requests: readonly IoRequest[]): IoRequest[] {
    const { results, data } = this.#memory;
    const rest: IoRequest[] = [];
    let at = slot * SLOT_BYTES;
    requests.forEach((request, index) => {
      const { isWrite, bytes } = request;
      const count = results[slot * SLOT_REQUESTS + index] ?? -1;
      // What is short or failed is done again, and says why.
      if (count === bytes.length) {
        if (!isWrite) bytes.set(data.subarray(at, at + count));
        request.done(count);
      } else rest.push(request);
      at += bytes.length;
    });
    return rest;
  }

  #end(slot: number, answer: 'done' | 'broken'): void {
    const end = this.#slots[slot];
    delete this.#slots[slot];
    if (this.#slots.every((one) => one === undefined)) this.#worker?.unref();
    end?.(answer);
  }

  #break(): void {
    this.#isOnline = false;
    this.#worker = undefined;
    for (let slot = 0; slot < SLOTS; slot++) this.#end(slot, 'broken');
  }
}
