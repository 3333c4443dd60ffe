// The driver's side of virtqueues, for tests.
import type { Segment } from '#hw/guest-memory.ts';
import type { TestMemory } from '#hw/testing.ts';
import type { QueuePlace } from './queue.ts';

const TABLE = 0x1_0000;
const DRIVER_AREA = 0x1_8000;
const DEVICE_AREA = 0x2_0000;
const INDIRECT = 0x3_0000;
const INDIRECT_BYTES = 0x400;

export interface Buffers {
  readonly readable: readonly Segment[];
  readonly writable: readonly Segment[];
}

export interface RingDriver {
  readonly place: QueuePlace;
  /** Makes a chain available; returns its number. */
  add(buffers: Buffers, indirect?: boolean): number;
  /** The next chain that the device gave back. */
  used(): { id: number; writtenBytes: number } | undefined;
}

const NEXT = 1;
const WRITE = 2;
const INDIRECT_FLAG = 4;

function flat({ readable, writable }: Buffers): { segment: Segment; flags: number }[] {
  return [
    ...readable.map((segment) => ({ segment, flags: 0 })),
    ...writable.map((segment) => ({ segment, flags: WRITE })),
  ];
}

abstract class Driver {
  readonly place: QueuePlace;
  protected readonly memory: TestMemory;
  protected readonly size: number;

  constructor(memory: TestMemory, size: number, place: Partial<QueuePlace> = {}) {
    this.memory = memory;
    this.size = size;
    const usual = { descPaddr: TABLE, driverPaddr: DRIVER_AREA, devicePaddr: DEVICE_AREA };
    this.place = { size, ...usual, ...place };
  }

  /** A table of all buffers, and the descriptor that leads to it. */
  protected indirect(buffers: Buffers, id: number): { segment: Segment; flags: number }[] {
    const all = flat(buffers);
    const paddr = INDIRECT + id * INDIRECT_BYTES;
    for (const [i, { segment, flags }] of all.entries()) {
      const more = i < all.length - 1 ? NEXT : 0;
      this.putIndirect(paddr + i * 16, segment, flags, { more, next: i + 1 });
    }
    return [{ segment: { paddr, lengthBytes: all.length * 16 }, flags: INDIRECT_FLAG }];
  }

  protected abstract putIndirect(
    at: number,
    segment: Segment,
    flags: number,
    link: { more: number; next: number },
  ): void;

  protected put(
    at: number,
    { paddr, lengthBytes }: Segment,
    words: readonly [number, number],
  ): void {
    this.memory.view.setBigUint64(at, BigInt(paddr), true);
    this.memory.view.setUint32(at + 8, lengthBytes, true);
    this.memory.view.setUint16(at + 12, words[0], true);
    this.memory.view.setUint16(at + 14, words[1], true);
  }
}

export class SplitDriver extends Driver implements RingDriver {
  #free = 0;
  #available = 0;
  #seen = 0;

  protected override putIndirect(
    at: number,
    segment: Segment,
    flags: number,
    { more, next }: { more: number; next: number },
  ): void {
    this.put(at, segment, [flags | more, next]);
  }

  add(buffers: Buffers, indirect = false): number {
    const head = this.#free;
    const list = indirect ? this.indirect(buffers, head) : flat(buffers);
    for (const [i, { segment, flags }] of list.entries()) {
      const next = (this.#free + 1) % this.size;
      const more = i < list.length - 1 ? NEXT : 0;
      this.put(this.place.descPaddr + this.#free * 16, segment, [flags | more, next]);
      this.#free = next;
    }
    const { view } = this.memory;
    const { driverPaddr } = this.place;
    view.setUint16(driverPaddr + 4 + 2 * (this.#available % this.size), head, true);
    this.#available = (this.#available + 1) & 0xffff;
    view.setUint16(driverPaddr + 2, this.#available, true);
    return head;
  }

  used(): { id: number; writtenBytes: number } | undefined {
    const { view } = this.memory;
    const { devicePaddr } = this.place;
    if (view.getUint16(devicePaddr + 2, true) === this.#seen) return undefined;
    const at = devicePaddr + 4 + 8 * (this.#seen % this.size);
    this.#seen = (this.#seen + 1) & 0xffff;
    return { id: view.getUint32(at, true), writtenBytes: view.getUint32(at + 4, true) };
  }

  /** With event index: interrupt when this many have been used. */
  interruptAfter(count: number): void {
    this.memory.view.setUint16(this.place.driverPaddr + 4 + 2 * this.size, count, true);
  }

  noInterrupts(): void {
    this.memory.view.setUint16(this.place.driverPaddr, 1, true);
  }
}

const AVAILABLE = 1 << 7;
const USED = 1 << 15;

export class PackedDriver extends Driver implements RingDriver {
  #next = { index: 0, wrap: 1 };
  #seen = { index: 0, wrap: 1 };
  #ids = 0;
  readonly #lengths = new Map<number, number>();

  protected override putIndirect(at: number, segment: Segment, flags: number): void {
    this.put(at, segment, [0, flags]);
  }

  add(buffers: Buffers, indirect = false): number {
    const id = this.#ids++ % 64;
    const list = indirect ? this.indirect(buffers, id) : flat(buffers);
    this.#lengths.set(id, list.length);
    for (const [i, { segment, flags }] of list.entries()) {
      const more = i < list.length - 1 ? NEXT : 0;
      const turn = this.#next.wrap ? AVAILABLE : USED;
      this.put(this.place.descPaddr + this.#next.index * 16, segment, [id, flags | more | turn]);
      this.#next = this.#after(this.#next, 1);
    }
    return id;
  }

  #after({ index, wrap }: { index: number; wrap: number }, count: number) {
    const next = index + count;
    return next < this.size ? { index: next, wrap } : { index: next - this.size, wrap: wrap ^ 1 };
  }

  used(): { id: number; writtenBytes: number } | undefined {
    const { view } = this.memory;
    const at = this.place.descPaddr + this.#seen.index * 16;
    const flags = view.getUint16(at + 14, true);
    const turn = this.#seen.wrap ? AVAILABLE | USED : 0;
    if ((flags & (AVAILABLE | USED)) !== turn) return undefined;
    const id = view.getUint16(at + 12, true);
    this.#seen = this.#after(this.#seen, this.#lengths.get(id) ?? 1);
    return { id, writtenBytes: view.getUint32(at + 8, true) };
  }

  noInterrupts(): void {
    this.memory.view.setUint16(this.place.driverPaddr + 2, 1, true);
  }
}
