import type { GuestMemory } from '#hw/guest-memory.ts';
import {
  bad,
  type Chain,
  ChainBuilder,
  type ChainOrBad,
  DESC_INDIRECT,
  DESC_NEXT,
  type Descriptor,
  DescriptorTable,
  indirectTable,
  type QueuePlace,
  type Ring,
  type RingSettings,
} from './queue-chain.ts';

// Split virtqueues. Source: virtio 1.2, 2.7.

const NO_INTERRUPT = 1; // flags of the available ring
// Both rings, in 16-bit words: flags, index, entries, event index. Entries of the used ring are four.
const FLAGS = 0;
const INDEX = 1;
const ENTRIES = 2;
const MOST_SIZE = 32768;

export class SplitRing implements Ring {
  readonly #memory: GuestMemory;
  readonly #place: QueuePlace;
  readonly #settings: RingSettings;
  readonly #table: DescriptorTable;
  readonly #available: Uint16Array;
  readonly #used: Uint16Array;
  #next = 0;
  #usedIndex = 0;

  private constructor(
    memory: GuestMemory,
    place: QueuePlace,
    settings: RingSettings,
    parts: { table: DescriptorTable; available: Uint16Array; used: Uint16Array },
  ) {
    this.#memory = memory;
    this.#place = place;
    this.#settings = settings;
    this.#table = parts.table;
    this.#available = parts.available;
    this.#used = parts.used;
  }

  static at(memory: GuestMemory, place: QueuePlace, settings: RingSettings): SplitRing | undefined {
    const { size, descPaddr, driverPaddr, devicePaddr } = place;
    if (size < 1 || size > MOST_SIZE || (size & (size - 1)) !== 0) return undefined;
    const table = DescriptorTable.at(memory, { paddr: descPaddr, count: size, isPacked: false });
    const available = words(memory, driverPaddr, ENTRIES + size + 1);
    const used = words(memory, devicePaddr, ENTRIES + 4 * size + 1);
    if (table === undefined || available === undefined || used === undefined) return undefined;
    return new SplitRing(memory, place, settings, { table, available, used });
  }

  pop(): ChainOrBad | undefined {
    if (!this.#hasNext()) return undefined;
    const index = Atomics.load(this.#available, INDEX);
    if (((index - this.#next) & 0xffff) > this.#place.size)
      return bad(`${(index - this.#next) & 0xffff} chains in a queue of ${this.#place.size}`);
    const head = this.#available[ENTRIES + (this.#next & (this.#place.size - 1))] ?? 0;
    this.#next = (this.#next + 1) & 0xffff;
    return this.#chain(head);
  }

  /** Asks to be notified of the next chain when there is none now. */
  #hasNext(): boolean {
    if (Atomics.load(this.#available, INDEX) !== this.#next) return true;
    if (!this.#settings.eventIndex) return false;
    Atomics.store(this.#used, ENTRIES + 4 * this.#place.size, this.#next);
    // The driver may have made one before it saw that.
    return Atomics.load(this.#available, INDEX) !== this.#next;
  }

  #chain(head: number): ChainOrBad {
    const chain = new ChainBuilder();
    let table = this.#table;
    let index = head;
    for (;;) {
      if (index >= table.count) return bad(`descriptor ${index} of ${table.count}`);
      const descriptor: Descriptor = table.read(index);
      if (descriptor.flags & DESC_INDIRECT) {
        const inner = this.#indirect(descriptor, table);
        if (typeof inner === 'string') return bad(inner);
        table = inner;
        index = 0;
        continue;
      }
      const why = chain.add(descriptor);
      if (why !== undefined) return bad(why);
      if (!(descriptor.flags & DESC_NEXT)) return chain.done(head, 1);
      index = descriptor.link;
    }
  }

  #indirect(descriptor: Descriptor, table: DescriptorTable): DescriptorTable | string {
    if (!this.#settings.indirect) return 'an indirect descriptor, which was not agreed on';
    if (table !== this.#table) return 'an indirect descriptor in an indirect table';
    return indirectTable(this.#memory, descriptor, false);
  }

  push(chain: Chain, writtenBytes: number): boolean {
    const { size, devicePaddr } = this.#place;
    const at = ENTRIES + 4 * (this.#usedIndex & (size - 1));
    this.#used[at] = chain.id;
    this.#used[at + 1] = 0;
    this.#used[at + 2] = writtenBytes & 0xffff;
    this.#used[at + 3] = writtenBytes >>> 16;
    const before = this.#usedIndex;
    this.#usedIndex = (before + 1) & 0xffff;
    Atomics.store(this.#used, INDEX, this.#usedIndex);
    this.#memory.wrote(devicePaddr, 4 + 8 * size);
    if (!this.#settings.eventIndex)
      return (Atomics.load(this.#available, FLAGS) & NO_INTERRUPT) === 0;
    // 2.7.10.1: only when the index asked for has just been passed.
    const event = Atomics.load(this.#available, ENTRIES + size);
    return event === before;
  }
}

/** 16-bit words in guest memory, or undefined where they are not in RAM or not aligned. */
export function words(memory: GuestMemory, paddr: number, count: number): Uint16Array | undefined {
  const bytes = memory.bytes(paddr, count * 2);
  if (bytes === undefined || bytes.byteOffset % 2 !== 0) return undefined;
  return new Uint16Array(bytes.buffer, bytes.byteOffset, count);
}
