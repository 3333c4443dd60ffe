import { read, readv, write, writev } from 'node:fs';
import type { PromptIo } from './prompt-io.ts';

/** Larger requests are worth the way to a thread: several are copied side by side, and the caller goes on meanwhile. */
const MOST_PROMPT_BYTES = 64 * 1024;
/** Neighbouring requests become one call of at most this. */
const MAX_GROUP_BYTES = 1 << 20;
const MAX_GROUP = 128;
/** While this many calls are under way, small requests wait for company. */
const MAX_CALLS = 2;
const ENOUGH_BYTES = 256 * 1024;
/** Writes to one file wait for each other in the host, and burn a processor meanwhile: larger ones go one after the other. */
const LARGE_BYTES = 256 * 1024;
const MAX_LARGE_GROUP_BYTES = 4 << 20;

interface IoRequest {
  readonly isWrite: boolean;
  readonly offsetBytes: number;
  readonly bytes: Uint8Array;
  /** Called with the bytes that were done. */
  readonly done: (count: number) => void;
  readonly fail: (error: Error) => void;
}

/** Requests to one file that lie side by side, of one kind. */
type Group = IoRequest[];

/** Reads and writes of a file: small ones here and now while that is quick, else on libuv's threads, many at once in few calls. */
export class IoQueue {
  readonly #fd: number;
  #waiting: IoRequest[] = [];
  #waitingBytes = 0;
  readonly #largeWrites: IoRequest[] = [];
  #isWritingLarge = false;
  #calls = 0;
  #isScheduled = false;
  readonly #prompt: PromptIo | undefined;
  readonly #mostWrittenBytes: number;

  /** `prompt`: when this thread may wait for the file's host now and then. `isPatient`: when it may for writes of any length. */
  constructor(fd: number, prompt: PromptIo | undefined, isPatient = false) {
    this.#fd = fd;
    this.#prompt = prompt;
    this.#mostWrittenBytes = isPatient ? Number.POSITIVE_INFINITY : MOST_PROMPT_BYTES;
  }

  /** The bytes that were there. */
  read(offsetBytes: number, into: Uint8Array): number | Promise<number> {
    const prompt = into.length <= MOST_PROMPT_BYTES ? this.#prompt : undefined;
    const done = prompt?.read(offsetBytes, [into]) ?? -1;
    return done === into.length ? done : this.#submit(false, offsetBytes, into);
  }

  write(offsetBytes: number, from: Uint8Array): number | Promise<number> {
    const prompt = from.length <= this.#mostWrittenBytes ? this.#prompt : undefined;
    const done = prompt?.write(offsetBytes, [from]) ?? -1;
    return done === from.length ? done : this.#submit(true, offsetBytes, from);
  }

  #submit(isWrite: boolean, offsetBytes: number, bytes: Uint8Array): Promise<number> {
    return new Promise((done, fail) => {
      const request = { isWrite, offsetBytes, bytes, done, fail };
      if (isWrite && bytes.length >= LARGE_BYTES) {
        this.#largeWrites.push(request);
        this.#writeLarge();
        return;
      }
      this.#waiting.push(request);
      this.#waitingBytes += bytes.length;
      this.#schedule();
    });
  }

  #schedule(): void {
    if (this.#isScheduled || this.#waiting.length === 0) return;
    if (this.#calls >= MAX_CALLS && this.#waitingBytes < ENOUGH_BYTES) return;
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
    for (const group of grouped(requests)) this.#runGroup(group);
  }

  #writeLarge(): void {
    if (this.#isWritingLarge) return;
    const group = this.#largeWrites.splice(0, 1);
    let bytes = group[0]?.bytes.length ?? 0;
    for (let next = this.#largeWrites[0]; next !== undefined; next = this.#largeWrites[0]) {
      const last = group.at(-1);
      bytes += next.bytes.length;
      if (last === undefined || !follows(last, next) || bytes > MAX_LARGE_GROUP_BYTES) break;
      group.push(next);
      this.#largeWrites.shift();
    }
    this.#isWritingLarge = group.length > 0;
    this.#runGroup(group, () => {
      this.#isWritingLarge = false;
      this.#writeLarge();
    });
  }

  /** `next` is called before any request is told. */
  #runGroup(group: Group, next?: () => void): void {
    const [first] = group;
    if (first === undefined) return;
    this.#calls++;
    const end = (error: Error | null, count: number): void => {
      this.#calls--;
      next?.();
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
    const isNext =
      last !== undefined &&
      follows(last, request) &&
      bytes + request.bytes.length <= MAX_GROUP_BYTES &&
      group.length < MAX_GROUP;
    if (!isNext) {
      group = [];
      bytes = 0;
      groups.push(group);
    }
    group.push(request);
    bytes += request.bytes.length;
  }
  return groups;
}

function follows(last: IoRequest, next: IoRequest): boolean {
  return last.isWrite === next.isWrite && last.offsetBytes + last.bytes.length === next.offsetBytes;
}
