import type { DeviceState } from '#hw/device.ts';
import { type StateSize, StateWords } from '#hw/state.ts';
import * as r from './pci-regs.ts';

export interface PciBar {
  readonly kind: 'io' | 'mem32' | 'mem64';
  /** A power of two, at least 4 (I/O) or 16 (memory). */
  readonly sizeBytes: number;
  readonly isPrefetchable?: boolean;
}

/** A capability, less its two bytes of ID and link. */
export interface PciCapability {
  readonly id: number;
  readonly bytes: Uint8Array;
  /** Bits the guest may write, byte for byte of `bytes`. */
  readonly writable: Uint8Array;
}

/** What of a function never changes. */
export interface PciDescription {
  readonly vendorId: number;
  readonly deviceId: number;
  readonly revision: number;
  /** Class, subclass, programming interface: 24 bits. */
  readonly classCode: number;
  readonly subsystemVendorId?: number;
  readonly subsystemId?: number;
  /** 1 to 4 for INTA# to INTD#; 0 or absent for none. */
  readonly interruptPin?: number;
  /** By BAR number; a 64-bit one takes the next number too. */
  readonly bars?: ReadonlyMap<number, PciBar>;
  readonly capabilities?: readonly PciCapability[];
  /** Registers of the device's own: offset, value after reset, bits the guest may write. One byte each. */
  readonly registers?: readonly {
    offset: number;
    value: number;
    writable: number;
  }[];
}

export interface PciEvents {
  /** The BAR now decodes at `address`, or with undefined, nowhere. */
  readonly barMoved?: (bar: number, address: number | undefined) => void;
  /** The command register was written. */
  readonly commandWritten?: () => void;
  /** A capability or register of the device's own was written: `size` bytes at `offset` of configuration space. */
  readonly configWritten?: (offset: number, size: number) => void;
}

export const PCI_FUNCTION_STATE: StateSize = {
  i32: r.CONFIG_BYTES / 4,
  f64: 0,
};

/** A type 0 header with its BARs and capabilities. */
export class PciFunction {
  readonly #w: StateWords;
  readonly #d: PciDescription;
  readonly #events: PciEvents;
  readonly #initial = new Uint8Array(r.CONFIG_BYTES);
  readonly #writable = new Uint8Array(r.CONFIG_BYTES);
  /** Of each capability, in the order described. */
  readonly capabilityOffsets: readonly number[];

  constructor(state: DeviceState, description: PciDescription, events: PciEvents = {}) {
    this.#w = new StateWords(state, PCI_FUNCTION_STATE);
    this.#d = description;
    this.#events = events;
    this.#describeHeader();
    this.#describeBars();
    this.capabilityOffsets = this.#describeCapabilities();
    for (const { offset, value, writable } of description.registers ?? []) {
      this.#initial[offset] = value;
      this.#writable[offset] = writable;
    }
  }

  reset(): void {
    const before = this.#addresses();
    for (let word = 0; word < PCI_FUNCTION_STATE.i32; word++)
      this.#w.set(word, read(this.#initial, word * 4, 4));
    this.#tellMoves(before);
  }

  // ---- What the description means for the bytes.

  #put(offset: number, size: number, value: number): void {
    for (let i = 0; i < size; i++) this.#initial[offset + i] = (value >>> (8 * i)) & 0xff;
  }

  #allow(offset: number, size: number, mask: number): void {
    for (let i = 0; i < size; i++) this.#writable[offset + i] = (mask >>> (8 * i)) & 0xff;
  }

  #describeHeader(): void {
    const d = this.#d;
    this.#put(r.VENDOR_ID, 2, d.vendorId);
    this.#put(r.DEVICE_ID, 2, d.deviceId);
    this.#put(r.REVISION, 1, d.revision);
    this.#put(r.CLASS, 3, d.classCode);
    this.#put(r.SUBSYSTEM_VENDOR_ID, 2, d.subsystemVendorId ?? 0);
    this.#put(r.SUBSYSTEM_ID, 2, d.subsystemId ?? 0);
    this.#put(r.INTERRUPT_PIN, 1, d.interruptPin ?? 0);
    this.#allow(r.COMMAND, 2, r.COMMAND_WRITABLE);
    this.#allow(r.CACHE_LINE, 1, 0xff);
    this.#allow(r.LATENCY, 1, 0xf8);
    this.#allow(r.INTERRUPT_LINE, 1, 0xff);
  }

  /** Address bits below the size cannot be written: that is how a driver finds the size (6.2.5.1). */
  #describeBars(): void {
    for (const [index, bar] of this.#d.bars ?? []) {
      const offset = r.BARS + 4 * index;
      const mask = 2 ** 32 - bar.sizeBytes;
      if (bar.kind === 'io') {
        this.#put(offset, 4, r.BAR_IO);
        this.#allow(offset, 4, mask & r.BAR_IO_ADDRESS);
        continue;
      }
      const is64 = bar.kind === 'mem64';
      this.#put(offset, 4, (is64 ? r.BAR_64 : 0) | (bar.isPrefetchable ? r.BAR_PREFETCHABLE : 0));
      this.#allow(offset, 4, mask > 0 ? mask & r.BAR_MEMORY_ADDRESS : 0);
      if (is64) this.#allow(offset + 4, 4, highMask(bar.sizeBytes));
    }
  }

  #describeCapabilities(): number[] {
    const offsets: number[] = [];
    let link = r.CAPABILITIES;
    let offset = r.FIRST_CAPABILITY;
    for (const { id, bytes, writable } of this.#d.capabilities ?? []) {
      offsets.push(offset);
      this.#initial[link] = offset;
      this.#initial[offset] = id;
      this.#initial.set(bytes, offset + 2);
      this.#writable.set(writable, offset + 2);
      link = offset + 1;
      offset = (offset + 2 + bytes.length + 3) & ~3;
    }
    if (offsets.length > 0) this.#put(r.STATUS, 2, r.STATUS_CAPABILITIES);
    return offsets;
  }

  // ---- Access. `size` is 1, 2 or 4, and `offset` a multiple of it.

  read(offset: number, size: number): number {
    const word = this.#w.get(offset >> 2);
    return Math.floor(word / 2 ** (8 * (offset & 3))) % 2 ** (8 * size);
  }

  write(offset: number, size: number, value: number): void {
    const before = this.#addresses();
    const shift = 8 * (offset & 3);
    const lanes = (size === 4 ? 0xffff_ffff : (1 << (8 * size)) - 1) << shift;
    const mask = read(this.#writable, offset & ~3, 4) & lanes;
    this.#w.set(offset >> 2, (this.#w.get(offset >> 2) & ~mask) | ((value << shift) & mask));
    this.#tellMoves(before);
    if (offset === r.COMMAND || offset === r.COMMAND + 1) this.#events.commandWritten?.();
    if (offset >= r.FIRST_CAPABILITY) this.#events.configWritten?.(offset, size);
  }

  /** For the device itself: sets what the guest may only read. */
  setByte(offset: number, value: number): void {
    const shift = 8 * (offset & 3);
    const word = this.#w.get(offset >> 2) & ~(0xff << shift);
    this.#w.set(offset >> 2, word | ((value & 0xff) << shift));
  }

  get isBusMaster(): boolean {
    return (this.read(r.COMMAND, 2) & r.COMMAND_BUS_MASTER) !== 0;
  }

  /** The device's level interrupt: shown in the status register; whether it may reach its INTx# pin. */
  setInterruptStatus(asserted: boolean): boolean {
    const low = this.read(r.STATUS, 1) & ~r.STATUS_INTERRUPT;
    this.setByte(r.STATUS, low | (asserted ? r.STATUS_INTERRUPT : 0));
    return asserted && !(this.read(r.COMMAND, 2) & r.COMMAND_INTX_DISABLE);
  }

  // ---- BARs.

  /** Where the BAR decodes, or undefined while its space is disabled in the command register. */
  barAddress(index: number): number | undefined {
    const bar = this.#d.bars?.get(index);
    if (!bar) return undefined;
    const command = this.read(r.COMMAND, 2);
    const low = this.read(r.BARS + 4 * index, 4);
    if (bar.kind === 'io')
      return command & r.COMMAND_IO ? (low & r.BAR_IO_ADDRESS) >>> 0 : undefined;
    if (!(command & r.COMMAND_MEMORY)) return undefined;
    const high = bar.kind === 'mem64' ? this.read(r.BARS + 4 * index + 4, 4) : 0;
    return high * 2 ** 32 + ((low & r.BAR_MEMORY_ADDRESS) >>> 0);
  }

  #addresses(): ReadonlyMap<number, number | undefined> {
    const addresses = new Map<number, number | undefined>();
    for (const index of this.#d.bars?.keys() ?? []) addresses.set(index, this.barAddress(index));
    return addresses;
  }

  #tellMoves(before: ReadonlyMap<number, number | undefined>): void {
    for (const [index, address] of this.#addresses())
      if (address !== before.get(index)) this.#events.barMoved?.(index, address);
  }
}

/** Writable bits of the upper half of a 64-bit BAR. */
function highMask(sizeBytes: number): number {
  return sizeBytes <= 2 ** 32 ? 0xffff_ffff : 2 ** 32 - sizeBytes / 2 ** 32;
}

function read(bytes: Uint8Array, offset: number, size: number): number {
  let value = 0;
  for (let i = size - 1; i >= 0; i--) value = value * 256 + (bytes[offset + i] ?? 0);
  return value;
}
