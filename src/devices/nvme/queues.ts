import type { GuestMemory } from '#hw/guest-memory.ts';
import * as r from './nvme-regs.ts';

/** Of a queue. */
const MOST_UNDER_WAY = 1024;

/** The answer to a command. */
export interface Completion {
  readonly sqId: number;
  readonly sqHead: number;
  readonly commandId: number;
  readonly status: number;
  readonly result: number;
}

/** A completion queue: one writer, the device; the guest tells by its doorbell how far it has read. */
export class CompletionQueue {
  readonly vector: number;
  readonly interrupts: boolean;
  readonly #memory: GuestMemory;
  readonly #paddr: number;
  readonly #entries: number;
  #head = 0;
  #tail = 0;
  #phase = 1;
  #waiting: Completion[] = [];

  constructor(
    memory: GuestMemory,
    place: { paddr: number; entries: number },
    interrupt: { vector: number; enabled: boolean },
  ) {
    this.#memory = memory;
    this.#paddr = place.paddr;
    this.#entries = place.entries;
    this.vector = interrupt.vector;
    this.interrupts = interrupt.enabled;
  }

  get hasUnread(): boolean {
    return this.#head !== this.#tail;
  }

  /** Answers wait for room. */
  get isFull(): boolean {
    return this.#waiting.length > 0;
  }

  /** The doorbell. True when answers that waited have been written. */
  setHead(head: number): boolean {
    if (head >= this.#entries) return false;
    this.#head = head;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const completion of waiting) this.post(completion);
    return waiting.length > 0 && this.hasUnread;
  }

  post(completion: Completion): void {
    if ((this.#tail + 1) % this.#entries === this.#head) {
      this.#waiting.push(completion);
      return;
    }
    const paddr = this.#paddr + this.#tail * r.CQE_BYTES;
    const bytes = this.#memory.bytes(paddr, r.CQE_BYTES);
    if (bytes !== undefined) {
      const view = new DataView(bytes.buffer, bytes.byteOffset, r.CQE_BYTES);
      const { sqId, sqHead, commandId, status, result } = completion;
      view.setUint32(0, result, true);
      view.setUint32(4, 0, true);
      view.setUint32(8, ((sqId << 16) | sqHead) >>> 0, true);
      this.#memory.wrote(paddr, r.CQE_BYTES);
      // The phase tag is what the driver looks at: last.
      const last = new Int32Array(bytes.buffer, bytes.byteOffset + 12, 1);
      Atomics.store(last, 0, (status << 17) | (this.#phase << 16) | commandId);
    }
    this.#tail = (this.#tail + 1) % this.#entries;
    if (this.#tail === 0) this.#phase ^= 1;
  }
}

/** A submission queue: one writer, the guest. */
export class SubmissionQueue {
  readonly cqId: number;
  readonly #memory: GuestMemory;
  readonly #paddr: number;
  readonly #entries: number;
  readonly #hasRoom: () => boolean;
  #tail = 0;
  head = 0;
  /** Commands taken and not answered. */
  #underWay = 0;
  /** The next command waits until one has been answered, or the answers are read. */
  isHeldBack = false;

  /** `hasRoom`: for an answer. */
  constructor(
    memory: GuestMemory,
    place: { paddr: number; entries: number },
    cqId: number,
    hasRoom: () => boolean,
  ) {
    this.#memory = memory;
    this.#hasRoom = hasRoom;
    this.#paddr = place.paddr;
    this.#entries = place.entries;
    this.cqId = cqId;
  }

  /** The doorbell; false when it names no entry. */
  setTail(tail: number): boolean {
    if (tail >= this.#entries) return false;
    this.#tail = tail;
    return true;
  }

  answered(): void {
    this.#underWay--;
  }

  /**
   * A copy of the next entry; undefined when there is none. One that is not in RAM is all zeros. A guest that does not read
   * its answers, or waits for none, would have us hold any number of commands: it has to.
   */
  take(): Uint8Array | undefined {
    if (this.head === this.#tail) return undefined;
    this.isHeldBack = this.#underWay >= MOST_UNDER_WAY || !this.#hasRoom();
    if (this.isHeldBack) return undefined;
    this.#underWay++;
    const entry = this.#memory.bytes(this.#paddr + this.head * r.SQE_BYTES, r.SQE_BYTES)?.slice();
    this.head = (this.head + 1) % this.#entries;
    return entry ?? new Uint8Array(r.SQE_BYTES);
  }
}
