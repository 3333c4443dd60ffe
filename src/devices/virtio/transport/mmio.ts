import type { MmioPlan } from '../../pci/mmio-plan.ts';
import type { PciCard, PciCardWires } from '../../pci/pci-card.ts';
import * as r from './mmio-regs.ts';
import { type QueueSetting, VirtioCore } from './virtio-core.ts';
import type { VirtioDevice } from './virtio-device.ts';

// Virtio over MMIO, version 2 or the legacy one. Source: virtio 1.2, 4.2.

const LEGACY_PAGE_BYTES = 4096;
const MOST_ALIGN = 65536;

export interface VirtioMmioOptions {
  readonly device: VirtioDevice;
  /** What traces call it. */
  readonly name: string;
  /** Version 1: drivers of before virtio 1.0 know no other. */
  readonly legacy: boolean;
}

/** A virtio device at an address of the board's. */
export class VirtioMmio implements PciCard {
  readonly plan: MmioPlan;
  readonly #core: VirtioCore;
  readonly #legacy: boolean;
  readonly #interrupt: PciCardWires['interrupts'];
  #causes = 0;
  #pageBytes = LEGACY_PAGE_BYTES;
  #align = LEGACY_PAGE_BYTES;

  constructor(wires: PciCardWires, { device, name, legacy }: VirtioMmioOptions) {
    this.plan = { name, mmioBytes: r.MMIO_BYTES, awaited: r.INTERRUPT_ACK };
    this.#legacy = legacy;
    this.#interrupt = wires.interrupts;
    this.#core = new VirtioCore(device, {
      memory: wires.memory,
      interruptQueue: () => this.#raise(r.INTERRUPT_QUEUE),
      interruptConfig: () => this.#raise(r.INTERRUPT_CONFIG),
    });
  }

  reset(): void {
    this.#core.reset();
    this.#pageBytes = LEGACY_PAGE_BYTES;
    this.#align = LEGACY_PAGE_BYTES;
    this.#acknowledge(this.#causes);
  }

  idle(): Promise<void> {
    return this.#core.device.idle();
  }

  #raise(cause: number): void {
    this.#causes |= cause;
    this.#interrupt.setIntx(true);
  }

  #acknowledge(causes: number): void {
    this.#causes &= ~causes;
    if (this.#causes === 0) this.#interrupt.setIntx(false);
  }

  /** 4.2.2.2: registers are words; the device's configuration is read in its fields' sizes. */
  readBar(_bar: number, offset: number, size: number): number {
    if (this.#legacy) this.#core.beLegacy();
    if (offset >= r.CONFIG) return this.#core.readConfig(offset - r.CONFIG, size);
    return size === 4 && offset % 4 === 0 ? this.#read(offset) : 0;
  }

  writeBar(_bar: number, offset: number, size: number, value: number): void {
    if (this.#legacy) this.#core.beLegacy();
    if (offset >= r.CONFIG) this.#core.writeConfig(offset - r.CONFIG, size, value);
    else if (size === 4 && offset % 4 === 0) this.#write(offset, value);
  }

  #read(offset: number): number {
    const core = this.#core;
    switch (offset) {
      case r.MAGIC:
        return r.MAGIC_VALUE;
      case r.VERSION:
        return this.#legacy ? 1 : 2;
      case r.DEVICE_ID:
        return core.device.deviceId;
      case r.VENDOR_ID:
        return r.VENDOR_VALUE;
      case r.FEATURES:
        return core.offered(core.featureSelect);
      case r.QUEUE_SIZE_MOST:
        return core.device.queueSizes[core.queueSelect] ?? 0;
      case r.QUEUE_READY:
        return !this.#legacy && core.selected?.enabled === true ? 1 : 0;
      case r.LEGACY_QUEUE_PAGE:
        return this.#legacy ? Math.floor(address(core.selected) / this.#pageBytes) : 0;
      case r.INTERRUPT_STATUS:
        return this.#causes;
      case r.STATUS:
        return core.status;
      case r.CONFIG_GENERATION:
        return core.configGeneration >>> 0;
      default:
        return offset >= r.SHARED_MEMORY && offset < r.SHARED_MEMORY_END ? 0xffff_ffff : 0;
    }
  }

  #write(offset: number, value: number): void {
    const core = this.#core;
    switch (offset) {
      case r.FEATURES_SELECT:
        core.featureSelect = value;
        return;
      case r.DRIVER_FEATURES_SELECT:
        core.driverFeatureSelect = value;
        return;
      case r.DRIVER_FEATURES:
        core.accept(core.driverFeatureSelect, value);
        return;
      case r.QUEUE_SELECT:
        core.queueSelect = value;
        return;
      case r.QUEUE_NOTIFY:
        core.notify(value & 0xffff);
        return;
      case r.INTERRUPT_ACK:
        this.#acknowledge(value);
        return;
      case r.STATUS:
        core.setStatus(value & 0xff);
        if ((value & 0xff) === 0) this.#acknowledge(this.#causes);
        return;
      default:
        if (core.selected === undefined) return;
        if (this.#legacy) this.#writeLegacyQueue(core.selected, offset, value);
        else this.#writeQueue(core.selected, offset, value);
    }
  }

  #writeQueue(queue: QueueSetting, offset: number, value: number): void {
    if (offset === r.QUEUE_SIZE) this.#setSize(queue, value);
    else if (offset === r.QUEUE_READY) queue.enabled = (value & 1) !== 0;
    for (const [index, base] of [r.QUEUE_DESC, r.QUEUE_DRIVER, r.QUEUE_DEVICE].entries())
      if (offset === base || offset === base + 4)
        queue.addresses[index * 2 + (offset - base) / 4] = value;
  }

  #writeLegacyQueue(queue: QueueSetting, offset: number, value: number): void {
    if (offset === r.QUEUE_SIZE) this.#setSize(queue, value);
    else if (offset === r.LEGACY_PAGE_SIZE) this.#pageBytes = powerOfTwo(value, this.#pageBytes);
    else if (offset === r.LEGACY_QUEUE_ALIGN) this.#align = powerOfTwo(value, this.#align);
    else if (offset === r.LEGACY_QUEUE_PAGE)
      this.#core.placeLegacy(queue, value * this.#pageBytes, this.#align);
  }

  #setSize(queue: QueueSetting, value: number): void {
    queue.size = Math.min(value, this.#core.device.queueSizes[this.#core.queueSelect] ?? 0);
  }
}

function address(queue: QueueSetting | undefined): number {
  const [low = 0, high = 0] = queue?.addresses ?? [];
  return high * 2 ** 32 + low;
}

/** What a driver asks for that can be, else what was before. */
function powerOfTwo(value: number, before: number): number {
  const isOne = value > 0 && value <= MOST_ALIGN && (value & (value - 1)) === 0;
  return isOne ? value : before;
}
