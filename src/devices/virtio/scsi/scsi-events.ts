import type { GuestMemory } from '#hw/guest-memory.ts';
import { copyTo } from '#hw/segments.ts';
import type { VirtQueue } from '../queue.ts';

// What a driver is told by itself. Source: virtio 1.2, 5.6.6.3.

/** Disks come and go; their parameters change. */
export const F_HOTPLUG = 1n << 1n;
export const F_CHANGE = 1n << 2n;
export const EVENT_BYTES = 16;

const TRANSPORT_RESET = 1;
const PARAM_CHANGE = 3;
/** The reason of a change is a sense code: ASC 2A, ASCQ 09, of its capacity. */
const CAPACITY_CHANGED = 0x092a;

/** What has happened to the disk of a number, and who has said that he listens for it. */
const EVENTS = {
  came: { event: TRANSPORT_RESET, reason: 1, feature: F_HOTPLUG },
  went: { event: TRANSPORT_RESET, reason: 2, feature: F_HOTPLUG },
  resized: { event: PARAM_CHANGE, reason: CAPACITY_CHANGED, feature: F_CHANGE },
} as const;
export type ScsiEvent = keyof typeof EVENTS;

/** Events wait for the driver to give room for them. */
export class ScsiEvents {
  readonly #memory: GuestMemory;
  #queue: VirtQueue | undefined;
  #features = 0n;
  /** By what they tell: nothing waits twice. */
  readonly #waiting = new Map<string, readonly [ScsiEvent, number]>();

  constructor(memory: GuestMemory) {
    this.#memory = memory;
  }

  start(queue: VirtQueue | undefined, features: bigint): void {
    this.#queue = queue;
    this.#features = features;
  }

  stop(): void {
    this.#queue = undefined;
    this.#features = 0n;
    this.#waiting.clear();
  }

  tell(what: ScsiEvent, lun: number): void {
    if ((this.#features & EVENTS[what].feature) === 0n) return;
    const key = `${what} ${lun}`;
    this.#waiting.delete(key);
    this.#waiting.set(key, [what, lun]);
    this.deliver();
  }

  /** There may be room. */
  deliver(): void {
    const queue = this.#queue;
    for (const [key, [what, lun]] of this.#waiting) {
      const chain = queue?.pop();
      if (queue === undefined || chain === undefined) return;
      this.#waiting.delete(key);
      const { event, reason } = EVENTS[what];
      const bytes = new Uint8Array(EVENT_BYTES);
      const view = new DataView(bytes.buffer);
      view.setUint32(0, event, true);
      bytes.set([1, 0, 0, lun], 4); // of target 0
      view.setUint32(12, reason, true);
      queue.push(chain, copyTo(this.#memory, chain.writable, bytes));
    }
  }
}
