import { read, readv, write, writev } from 'node:fs';
import { BatchWorker, type IoRequest } from './batch-worker.ts';

/** Neighbouring requests become one call of at most this. */
const MAX_GROUP_BYTES = 1 << 20;
const MAX_GROUP = 128;
/** While this many calls are under way, small requests wait for company. */
const MAX_CALLS = 2;
/** With the thread fewer wait longer: larger batches. */
const MAX_BATCHES = 1;
const ENOUGH_BYTES = 256 * 1024;
/** A batch of at least so many calls is worth a hop to the thread, which is started when there were several. */
const MIN_BATCH = 6;
const BATCHES_TO_START = 32;
/** The thread does one request after the other: when the disk is slower than this, calls side by side are better for a while. */
const SLOW_MS = 0.06;
const BATCHES_APART = 64;

/** Requests to one file that lie side by side, of one kind. */
type Group = IoRequest[];

/** Reads and writes of a file, of which many small ones at once become few calls. */
export class IoQueue {
  readonly #fd: number;
  #waiting: IoRequest[] = [];
  #waitingBytes = 0;
  #calls = 0;
  #isScheduled = false;
  #batches = 0;
  /** So many batches are not for the thread. */
  #apart = 0;
  #worker: BatchWorker | undefined;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Resolves with the bytes that were there. */
  read(offsetBytes: number, into: Uint8Array): Promise<number> {
    return this.#submit(false, offsetBytes, into);
  }

  write(offsetBytes: number, from: Uint8Array): Promise<number> {
    return this.#submit(true, offsetBytes, from);
  }

  async close(): Promise<void> {
    await this.#worker?.close();
  }

  #submit(isWrite: boolean, offsetBytes: number, bytes: Uint8Array): Promise<number> {
    return new Promise((done, fail) => {
      this.#waiting.push({ isWrite, offsetBytes, bytes, done, fail });
      this.#waitingBytes += bytes.length;
      this.#schedule();
    });
  }

  #schedule(): void {
    if (this.#isScheduled || this.#waiting.length === 0) return;
    const most = this.#worker === undefined || this.#apart > 0 ? MAX_CALLS : MAX_BATCHES;
    if (this.#calls >= most && this.#waitingBytes < ENOUGH_BYTES) return;
    this.#isScheduled = true;
    // Others of this turn come along.
    queueMicrotask(() => {
      this.#isScheduled = false;
      this.#dispatch();
    });
  }

  #dispatch(): void {
    const requests = this.#waiting;
    this.#waiting = [];
    this.#waitingBytes = 0;
    if (requests.length === 1) {
      this.#runGroup(requests);
      return;
    }
    const groups = grouped(requests);
    if (groups.length >= MIN_BATCH && this.#runBatch(groups)) return;
    for (const group of groups) this.#runGroup(group);
  }

  #runBatch(groups: readonly Group[]): boolean {
    this.#batches++;
    if (this.#batches === BATCHES_TO_START) this.#worker = new BatchWorker(this.#fd);
    if (this.#apart > 0) this.#apart--;
    const slot = this.#apart > 0 ? -1 : (this.#worker?.freeSlot ?? -1);
    const requests = groups.flat();
    if (slot < 0 || !BatchWorker.fits(requests)) return false;
    this.#calls++;
    const started = performance.now();
    this.#worker?.run(slot, requests, (rest) => {
      this.#calls--;
      if (performance.now() - started > SLOW_MS * requests.length) this.#apart = BATCHES_APART;
      for (const request of rest) this.#runGroup([request]);
      this.#schedule();
    });
    return true;
  }

  #runGroup(group: Group): void {
    const [first] = group;
    if (first === undefined) return;
    this.#calls++;
    const end = (error: Error | null, count: number): void => {
      this.#calls--;
      if (error !== null) for (const { fail } of group) fail(error);
      else this.#share(group, count);
      this.#schedule();
    };
    const { isWrite, offsetBytes, bytes } = first;
    if (group.length === 1) {
      if (isWrite) write(this.#fd, bytes, 0, bytes.length, offsetBytes, end);
      else read(this.#fd, bytes, 0, bytes.length, offsetBytes, end);
    } else {
      const all = group.map((request) => request.bytes);
      if (isWrite) writev(this.#fd, all, offsetBytes, end);
      else readv(this.#fd, all, offsetBytes, end);
    }
  }

  /** Tells each request what it got. A call that was cut short is carried on. */
  #share(group: Group, total: number): void {
    let left = total;
    for (const request of group) {
      const count = Math.min(left, request.bytes.length);
      left -= count;
      if (count === request.bytes.length) request.done(count);
      else this.#carryOn(request, count, total === 0);
    }
  }

  #carryOn(request: IoRequest, count: number, isEnd: boolean): void {
    if (isEnd && !request.isWrite) {
      request.done(count);
      return;
    }
    this.#runGroup([
      {
        ...request,
        offsetBytes: request.offsetBytes + count,
        bytes: request.bytes.subarray(count),
        done: (more) => request.done(count + more),
      },
    ]);
  }
}

/** Requests of one kind that lie side by side come together. */
function grouped(requests: IoRequest[]): Group[] {
  requests.sort((a, b) => Number(a.isWrite) - Number(b.isWrite) || a.offsetBytes - b.offsetBytes);
  const groups: Group[] = [];
  let group: Group = [];
  let bytes = 0;
  for (const request of requests) {
    const last = group.at(-1);
    const follows =
      last !== undefined &&
      last.isWrite === request.isWrite &&
      last.offsetBytes + last.bytes.length === request.offsetBytes &&
      bytes + request.bytes.length <= MAX_GROUP_BYTES &&
      group.length < MAX_GROUP;
    if (!follows) {
      group = [];
      bytes = 0;
      groups.push(group);
    }
    group.push(request);
    bytes += request.bytes.length;
  }
  return groups;
}
