import type { GuestMemory } from '#hw/guest-memory.ts';
import type { Chain, ChainOrBad, QueuePlace, Ring } from './queue-chain.ts';
import { PackedRing } from './queue-packed.ts';
import { SplitRing } from './queue-split.ts';

export type { Chain, QueuePlace } from './queue-chain.ts';

// Feature bits that concern queues (virtio 1.2, chapter 6).
export const F_INDIRECT = 1n << 28n;
export const F_EVENT_INDEX = 1n << 29n;
export const F_VERSION_1 = 1n << 32n;
export const F_PACKED = 1n << 34n;

export interface QueueOptions {
  readonly memory: GuestMemory;
  readonly place: QueuePlace;
  /** Those agreed on. */
  readonly features: bigint;
  /** The driver is to look at the used ring. */
  readonly interrupt: () => void;
  /** The driver has made a queue or a chain that cannot be: the device stops until it is reset (2.1.2). */
  readonly broken: (why: string) => void;
}

/** A virtqueue, split or packed, as a device sees it. */
export class VirtQueue {
  readonly #ring: Ring;
  readonly #options: QueueOptions;
  #isBroken = false;
  /** Chains that the device has: each takes an entry at least. */
  #held = 0;

  private constructor(options: QueueOptions, ring: Ring) {
    this.#options = options;
    this.#ring = ring;
  }

  /** Undefined when the rings do not lie in RAM, or not as they must. */
  static at(options: QueueOptions): VirtQueue | undefined {
    const { memory, place, features } = options;
    const settings = {
      indirect: (features & F_INDIRECT) !== 0n,
      eventIndex: (features & F_EVENT_INDEX) !== 0n,
    };
    const make = (features & F_PACKED) !== 0n ? PackedRing : SplitRing;
    const ring = make.at(memory, place, settings);
    return ring && new VirtQueue(options, ring);
  }

  /** The next chain of the driver's; undefined when there is none, and then it will notify. */
  pop(): Chain | undefined {
    if (this.#isBroken) return undefined;
    const next: ChainOrBad | undefined = this.#ring.pop();
    if (next === undefined) return undefined;
    if (next.type === 'bad') return this.#break(next.why);
    // A driver that does not wait for its chains to come back could have us hold any number.
    if (this.#held >= this.#options.place.size) return this.#break('more chains than entries');
    this.#held++;
    return next;
  }

  #break(why: string): undefined {
    this.#isBroken = true;
    this.#options.broken(why);
    return undefined;
  }

  /** Gives a chain back, `writtenBytes` of whose writable part have been filled, from its beginning. */
  push(chain: Chain, writtenBytes: number): void {
    this.#held--;
    if (this.#isBroken) return;
    if (this.#ring.push(chain, writtenBytes)) this.#options.interrupt();
  }
}
