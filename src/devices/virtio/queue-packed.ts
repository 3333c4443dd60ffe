import type { GuestMemory } from '#hw/guest-memory.ts';
import {
  bad,
  type Chain,
  ChainBuilder,
  type ChainOrBad,
  DESC_INDIRECT,
  DESC_NEXT,
  DESCRIPTOR_BYTES,
  type Descriptor,
  DescriptorTable,
  indirectTable,
  type QueuePlace,
  type Ring,
  type RingSettings,
} from './queue-chain.ts';
import { words } from './queue-split.ts';

// Packed virtqueues. Source: virtio 1.2, 2.8.

const DESC_AVAILABLE = 1 << 7;
const DESC_USED = 1 << 15;
// A descriptor in 16-bit words: address 4, length 2, buffer ID, flags.
const WORDS = DESCRIPTOR_BYTES / 2;
const LENGTH = 4;
const ID = 6;
const FLAGS = 7;
// Event suppression: two words (2.8.14).
const EVENT_DESC = 0;
const EVENT_FLAGS = 1;
const EVENTS_DISABLED = 1;
const EVENTS_AT_DESC = 2;
const MOST_SIZE = 32768;

/** A place in the ring, and whether it is an odd turn: both count to `size` and turn over. */
class Cursor {
  index = 0;
  wrap = 1;
  readonly #size: number;

  constructor(size: number) {
    this.#size = size;
  }

  advance(count: number): void {
    this.index += count;
    if (this.index < this.#size) return;
    this.index -= this.#size;
    this.wrap ^= 1;
  }
}

export class PackedRing implements Ring {
  readonly #memory: GuestMemory;
  readonly #place: QueuePlace;
  readonly #settings: RingSettings;
  readonly #table: DescriptorTable;
  readonly #ring: Uint16Array;
  readonly #driverEvent: Uint16Array;
  readonly #next: Cursor;
  readonly #used: Cursor;

  private constructor(
    memory: GuestMemory,
    place: QueuePlace,
    settings: RingSettings,
    parts: { table: DescriptorTable; ring: Uint16Array; driverEvent: Uint16Array },
  ) {
    this.#memory = memory;
    this.#place = place;
    this.#settings = settings;
    this.#table = parts.table;
    this.#ring = parts.ring;
    this.#driverEvent = parts.driverEvent;
    this.#next = new Cursor(place.size);
    this.#used = new Cursor(place.size);
  }

  static at(
    memory: GuestMemory,
    place: QueuePlace,
    settings: RingSettings,
  ): PackedRing | undefined {
    const { size, descPaddr, driverPaddr, devicePaddr } = place;
    if (size < 1 || size > MOST_SIZE) return undefined;
    const table = DescriptorTable.at(memory, { paddr: descPaddr, count: size, isPacked: true });
    const ring = words(memory, descPaddr, size * WORDS);
    const driverEvent = words(memory, driverPaddr, 2);
    const deviceEvent = words(memory, devicePaddr, 2);
    if (table === undefined || ring === undefined) return undefined;
    if (driverEvent === undefined || deviceEvent === undefined) return undefined;
    deviceEvent[EVENT_FLAGS] = 0; // notify always
    return new PackedRing(memory, place, settings, { table, ring, driverEvent });
  }

  pop(): ChainOrBad | undefined {
    if (!this.#isAvailable()) return undefined;
    const chain = new ChainBuilder();
    const { size } = this.#place;
    for (let entries = 1; entries <= size; entries++) {
      const index = (this.#next.index + entries - 1) % size;
      const descriptor = this.#table.read(index);
      const why =
        descriptor.flags & DESC_INDIRECT
          ? this.#indirect(descriptor, chain)
          : chain.add(descriptor);
      if (why !== undefined) return bad(why);
      if (descriptor.flags & DESC_NEXT) continue;
      this.#next.advance(entries);
      return chain.done(descriptor.link, entries);
    }
    return bad('a chain longer than its queue');
  }

  /** 2.8.1: the flags differ, and that of availability is our turn's. */
  #isAvailable(): boolean {
    const flags = Atomics.load(this.#ring, this.#next.index * WORDS + FLAGS);
    const available = (flags & DESC_AVAILABLE) !== 0 ? 1 : 0;
    const used = (flags & DESC_USED) !== 0 ? 1 : 0;
    return available !== used && available === this.#next.wrap;
  }

  /** All entries of the table, in order (2.8.7). */
  #indirect(descriptor: Descriptor, chain: ChainBuilder): string | undefined {
    if (!this.#settings.indirect) return 'an indirect descriptor, which was not agreed on';
    const table = indirectTable(this.#memory, descriptor, true);
    if (typeof table === 'string') return table;
    for (let index = 0; index < table.count; index++) {
      const inner = table.read(index);
      if (inner.flags & DESC_INDIRECT) return 'an indirect descriptor in an indirect table';
      const why = chain.add(inner);
      if (why !== undefined) return why;
    }
    return undefined;
  }

  push(chain: Chain, writtenBytes: number): boolean {
    const used = this.#used;
    const before = { index: used.index, wrap: used.wrap };
    const at = used.index * WORDS;
    this.#ring[at + LENGTH] = writtenBytes & 0xffff;
    this.#ring[at + LENGTH + 1] = writtenBytes >>> 16;
    this.#ring[at + ID] = chain.id;
    Atomics.store(this.#ring, at + FLAGS, used.wrap ? DESC_AVAILABLE | DESC_USED : 0);
    this.#memory.wrote(this.#place.descPaddr + at * 2, DESCRIPTOR_BYTES);
    used.advance(chain.entries);
    return this.#wantsInterrupt(before, chain.entries);
  }

  #wantsInterrupt(before: { index: number; wrap: number }, entries: number): boolean {
    const flags = Atomics.load(this.#driverEvent, EVENT_FLAGS) & 3;
    if (flags === EVENTS_DISABLED) return false;
    if (flags !== EVENTS_AT_DESC || !this.#settings.eventIndex) return true;
    const event = Atomics.load(this.#driverEvent, EVENT_DESC);
    const { size } = this.#place;
    // Places from `before` on to the one asked for, which may be on the next turn.
    const turns = event >> 15 === before.wrap ? 0 : size;
    const distance = (event & 0x7fff) + turns - before.index;
    return distance >= 0 && distance < entries;
  }
}
