import type { GuestMemory, Segment } from '#hw/guest-memory.ts';
import { paddrOf } from '#hw/guest-memory.ts';

// Descriptors: 16 bytes, whose last two words are in split rings flags and next, in packed ones ID and flags. Source:
// virtio 1.2, 2.7.5 and 2.8.13.

export const DESCRIPTOR_BYTES = 16;
export const DESC_NEXT = 1;
const DESC_WRITE = 2;
export const DESC_INDIRECT = 4;

/** The most descriptors of a chain: the specification allows as many as the queue has, drivers make a few more. */
const MOST_DESCRIPTORS = 1024;

/** Where a queue lies, and how many entries it has. */
export interface QueuePlace {
  readonly size: number;
  readonly descPaddr: number;
  /** Available ring, or the driver's event suppression. */
  readonly driverPaddr: number;
  /** Used ring, or the device's event suppression. */
  readonly devicePaddr: number;
}

export interface RingSettings {
  readonly indirect: boolean;
  readonly eventIndex: boolean;
}

/** Buffers of one request. Nothing says that they lie in RAM. */
export interface Chain {
  readonly type: 'chain';
  readonly id: number;
  /** Entries of the ring that it takes. */
  readonly entries: number;
  /** What the driver gives, then what it wants filled. */
  readonly readable: readonly Segment[];
  readonly writable: readonly Segment[];
}

export interface BadChain {
  readonly type: 'bad';
  readonly why: string;
}

export type ChainOrBad = Chain | BadChain;

export interface Ring {
  pop(): ChainOrBad | undefined;
  /** Whether the driver wants to be interrupted for it. */
  push(chain: Chain, writtenBytes: number): boolean;
}

export const bad = (why: string): BadChain => ({ type: 'bad', why });

/** A descriptor, read once: the driver may change it at any time. */
export interface Descriptor extends Segment {
  readonly flags: number;
  /** Number of the next descriptor; in packed rings the buffer's ID. */
  readonly link: number;
}

/** Descriptors gathered into a chain: readable ones first (2.7.4.2). */
export class ChainBuilder {
  readonly readable: Segment[] = [];
  readonly writable: Segment[] = [];
  #count = 0;

  /** What is wrong with it, if anything. */
  add(descriptor: Descriptor): string | undefined {
    if (++this.#count > MOST_DESCRIPTORS) return 'too many descriptors in a chain';
    if (descriptor.flags & DESC_WRITE) this.writable.push(descriptor);
    else if (this.writable.length > 0) return 'a readable buffer behind a writable one';
    else this.readable.push(descriptor);
    return undefined;
  }

  done(id: number, entries: number): Chain {
    return {
      type: 'chain',
      id,
      entries,
      readable: this.readable,
      writable: this.writable,
    };
  }
}

/** A table of descriptors in guest memory. */
export class DescriptorTable {
  readonly count: number;
  readonly #view: DataView;
  readonly #isPacked: boolean;

  private constructor(bytes: Uint8Array, isPacked: boolean) {
    this.#isPacked = isPacked;
    this.count = bytes.length / DESCRIPTOR_BYTES;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  /** Undefined when it is not in RAM. */
  static at(
    memory: GuestMemory,
    place: { readonly paddr: number; readonly count: number; readonly isPacked: boolean },
  ): DescriptorTable | undefined {
    const bytes = memory.bytes(place.paddr, place.count * DESCRIPTOR_BYTES);
    return bytes && new DescriptorTable(bytes, place.isPacked);
  }

  /** `index` is below `count`. */
  read(index: number): Descriptor {
    const at = index * DESCRIPTOR_BYTES;
    const view = this.#view;
    return {
      paddr: paddrOf(view.getUint32(at, true), view.getUint32(at + 4, true)),
      lengthBytes: view.getUint32(at + 8, true),
      flags: view.getUint16(at + (this.#isPacked ? 14 : 12), true),
      link: view.getUint16(at + (this.#isPacked ? 12 : 14), true),
    };
  }
}

/** The table that an indirect descriptor names, or what is wrong with it. */
export function indirectTable(
  memory: GuestMemory,
  { paddr, lengthBytes, flags }: Descriptor,
  isPacked: boolean,
): DescriptorTable | string {
  const count = lengthBytes / DESCRIPTOR_BYTES;
  if (flags & DESC_NEXT) return 'an indirect descriptor with a next one';
  if (!Number.isInteger(count) || count === 0 || count > MOST_DESCRIPTORS)
    return `an indirect table of ${lengthBytes} bytes`;
  return DescriptorTable.at(memory, { paddr, count, isPacked }) ?? 'an indirect table outside RAM';
}
