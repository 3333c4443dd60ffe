import { MSIX_BAR_BYTES, msixCapability } from '../../pci/msix.ts';
import type { PciCard, PciCardPlan, PciCardWires } from '../../pci/pci-card.ts';
import type { PciCapability } from '../../pci/pci-function.ts';
import * as r from './pci-regs.ts';
import { NO_VECTOR, VirtioCore } from './virtio-core.ts';
import type { VirtioDevice } from './virtio-device.ts';

// Virtio over PCI, modern and transitional. Source: virtio 1.2, 4.1.

const LEGACY_BAR = 0;
const MSIX_BAR = 1;
const MODERN_BAR = 4;
const MOST_VECTORS = 128;
const LEGACY_PAGE_BYTES = 4096;

export interface VirtioPciOptions {
  readonly device: VirtioDevice;
  /** What traces call it. */
  readonly name: string;
  /** Without the legacy interface. */
  readonly modernOnly?: boolean;
}

/** A virtio device as a PCI card. */
export class VirtioPci implements PciCard {
  readonly plan: PciCardPlan;
  readonly #core: VirtioCore;
  readonly #interrupts: PciCardWires['interrupts'];
  readonly #vectors: number;
  #configVector = NO_VECTOR;
  #isr = 0;

  constructor(wires: PciCardWires, options: VirtioPciOptions) {
    const { device } = options;
    this.#vectors = Math.min(MOST_VECTORS, device.queueSizes.length + 1);
    this.plan = plan(options, this.#vectors);
    this.#interrupts = wires.interrupts;
    this.#core = new VirtioCore(device, {
      memory: wires.memory,
      interruptQueue: (queue) => {
        const vector = this.#core.settings[queue]?.vector ?? NO_VECTOR;
        this.#interrupt(vector, r.ISR_QUEUE);
      },
      interruptConfig: () => this.#interrupt(this.#configVector, r.ISR_CONFIG),
    });
  }

  reset(): void {
    this.#core.reset();
    this.#configVector = NO_VECTOR;
    this.#clearIsr();
  }

  idle(): Promise<void> {
    return this.#core.device.idle();
  }

  #interrupt(vector: number, cause: number): void {
    if (this.#interrupts.isMsixEnabled) {
      if (vector !== NO_VECTOR) this.#interrupts.msix(vector);
      return;
    }
    this.#isr |= cause;
    this.#interrupts.setIntx(true);
  }

  #clearIsr(): number {
    const isr = this.#isr;
    this.#isr = 0;
    this.#interrupts.setIntx(false);
    return isr;
  }

  /** 4.1.5.1.2: a vector that there is not reads back as none. */
  #vector(value: number): number {
    return (value & 0xffff) < this.#vectors ? value & 0xffff : NO_VECTOR;
  }

  #setStatus(value: number): void {
    this.#core.setStatus(value & 0xff);
    if ((value & 0xff) !== 0) return;
    this.#configVector = NO_VECTOR;
    this.#clearIsr();
  }

  // ---- Access.

  readBar(bar: number, offset: number, size: number): number {
    if (bar === LEGACY_BAR) return this.#readLegacy(offset, size);
    if (bar !== MODERN_BAR) return 0;
    if (offset < r.ISR_OFFSET) return this.#readCommon(offset) % 2 ** (8 * size);
    if (offset < r.DEVICE_OFFSET) return offset === r.ISR_OFFSET ? this.#clearIsr() : 0;
    if (offset < r.NOTIFY_OFFSET) return this.#core.readConfig(offset - r.DEVICE_OFFSET, size);
    return 0;
  }

  writeBar(bar: number, offset: number, size: number, value: number): void {
    if (bar === LEGACY_BAR) this.#writeLegacy(offset, size, value);
    else if (bar !== MODERN_BAR) return;
    else if (offset >= r.NOTIFY_OFFSET)
      this.#core.notify((offset - r.NOTIFY_OFFSET) / r.NOTIFY_MULTIPLIER);
    else if (offset >= r.DEVICE_OFFSET)
      this.#core.writeConfig(offset - r.DEVICE_OFFSET, size, value);
    else if (offset < r.ISR_OFFSET) this.#writeCommon(offset, value);
  }

  // ---- The common configuration (4.1.4.3).

  #readCommon(offset: number): number {
    const core = this.#core;
    switch (offset) {
      case r.COMMON_FEATURE_SELECT:
        return core.featureSelect;
      case r.COMMON_FEATURE:
        return core.offered(core.featureSelect);
      case r.COMMON_DRIVER_FEATURE_SELECT:
        return core.driverFeatureSelect;
      case r.COMMON_DRIVER_FEATURE:
        return core.accepted(core.driverFeatureSelect);
      case r.COMMON_CONFIG_VECTOR:
        return this.#configVector;
      case r.COMMON_QUEUES:
        return core.settings.length;
      case r.COMMON_STATUS:
        return core.status;
      case r.COMMON_GENERATION:
        return core.configGeneration & 0xff;
      case r.COMMON_QUEUE_SELECT:
        return core.queueSelect;
      default:
        return this.#readQueue(offset);
    }
  }

  /** 0 for a queue that is not there (4.1.4.3.1). */
  #readQueue(offset: number): number {
    const queue = this.#core.selected;
    if (queue === undefined) return 0;
    switch (offset) {
      case r.COMMON_QUEUE_SIZE:
        return queue.size;
      case r.COMMON_QUEUE_VECTOR:
        return queue.vector;
      case r.COMMON_QUEUE_ENABLE:
        return queue.enabled ? 1 : 0;
      case r.COMMON_QUEUE_NOTIFY:
        return this.#core.queueSelect;
      default: {
        const word = (offset - r.COMMON_QUEUE_ADDRESSES) >> 2;
        return queue.addresses[word] ?? 0;
      }
    }
  }

  #writeCommon(offset: number, value: number): void {
    const core = this.#core;
    switch (offset) {
      case r.COMMON_FEATURE_SELECT:
        core.featureSelect = value;
        break;
      case r.COMMON_DRIVER_FEATURE_SELECT:
        core.driverFeatureSelect = value;
        break;
      case r.COMMON_DRIVER_FEATURE:
        core.accept(core.driverFeatureSelect, value);
        break;
      case r.COMMON_CONFIG_VECTOR:
        this.#configVector = this.#vector(value);
        break;
      case r.COMMON_STATUS:
        this.#setStatus(value);
        break;
      case r.COMMON_QUEUE_SELECT:
        core.queueSelect = value & 0xffff;
        break;
      default:
        this.#writeQueue(offset, value);
    }
  }

  #writeQueue(offset: number, value: number): void {
    const queue = this.#core.selected;
    if (queue === undefined) return;
    const word = (offset - r.COMMON_QUEUE_ADDRESSES) >> 2;
    if (offset === r.COMMON_QUEUE_SIZE) {
      const most = this.#core.device.queueSizes[this.#core.queueSelect] ?? 0;
      queue.size = Math.min(value & 0xffff, most);
    } else if (offset === r.COMMON_QUEUE_VECTOR) queue.vector = this.#vector(value);
    else if (offset === r.COMMON_QUEUE_ENABLE) queue.enabled ||= (value & 1) !== 0;
    else if (word >= 0 && word < queue.addresses.length) queue.addresses[word] = value;
  }

  // ---- The legacy interface (4.1.4.10).

  #legacyConfigAt(): number {
    return this.#interrupts.isMsixEnabled ? r.LEGACY_CONFIG_MSIX : r.LEGACY_CONFIG;
  }

  #readLegacy(offset: number, size: number): number {
    const core = this.#core;
    core.beLegacy();
    const config = this.#legacyConfigAt();
    if (offset >= config) return core.readConfig(offset - config, size);
    switch (offset) {
      case r.LEGACY_FEATURES:
        return core.offered(0);
      case r.LEGACY_DRIVER_FEATURES:
        return core.accepted(0);
      case r.LEGACY_QUEUE_PAGE: {
        const [low = 0, high = 0] = core.selected?.addresses ?? [];
        return Math.floor((high * 2 ** 32 + low) / LEGACY_PAGE_BYTES);
      }
      case r.LEGACY_QUEUE_SIZE:
        return core.selected?.size ?? 0;
      case r.LEGACY_QUEUE_SELECT:
        return core.queueSelect;
      case r.LEGACY_STATUS:
        return core.status;
      case r.LEGACY_ISR:
        return this.#clearIsr();
      case r.LEGACY_CONFIG_VECTOR:
        return this.#configVector;
      case r.LEGACY_QUEUE_VECTOR:
        return core.selected?.vector ?? NO_VECTOR;
      default:
        return 0;
    }
  }

  #writeLegacy(offset: number, size: number, value: number): void {
    const core = this.#core;
    core.beLegacy();
    const config = this.#legacyConfigAt();
    if (offset >= config) {
      core.writeConfig(offset - config, size, value);
      return;
    }
    const queue = core.selected;
    switch (offset) {
      case r.LEGACY_DRIVER_FEATURES:
        core.accept(0, value);
        break;
      case r.LEGACY_QUEUE_PAGE:
        if (queue !== undefined)
          core.placeLegacy(queue, value * LEGACY_PAGE_BYTES, LEGACY_PAGE_BYTES);
        break;
      case r.LEGACY_QUEUE_SELECT:
        core.queueSelect = value & 0xffff;
        break;
      case r.LEGACY_NOTIFY:
        core.notify(value & 0xffff);
        break;
      case r.LEGACY_STATUS:
        this.#setStatus(value);
        break;
      case r.LEGACY_CONFIG_VECTOR:
        this.#configVector = this.#vector(value);
        break;
      case r.LEGACY_QUEUE_VECTOR:
        if (queue !== undefined) queue.vector = this.#vector(value);
        break;
      default:
    }
  }
}

/** 4.1.2: identifiers; 4.1.4: where the structures are. */
function plan({ device, name, modernOnly }: VirtioPciOptions, vectors: number): PciCardPlan {
  const msix = { bar: MSIX_BAR, vectors };
  const legacy = modernOnly === true ? undefined : r.TRANSITIONAL_IDS.get(device.deviceId);
  return {
    name,
    msix,
    description: {
      vendorId: r.VENDOR_ID,
      deviceId: legacy ?? r.MODERN_IDS + device.deviceId,
      revision: legacy === undefined ? 1 : 0,
      classCode: device.classCode,
      subsystemVendorId: r.VENDOR_ID,
      subsystemId: legacy === undefined ? r.MODERN_SUBSYSTEM : device.deviceId,
      interruptPin: 1,
      bars: new Map([
        ...(legacy === undefined
          ? []
          : [[LEGACY_BAR, { kind: 'io', sizeBytes: r.LEGACY_BAR_BYTES }] as const]),
        [MSIX_BAR, { kind: 'mem32', sizeBytes: MSIX_BAR_BYTES }],
        [MODERN_BAR, { kind: 'mem64', sizeBytes: r.MODERN_BAR_BYTES, isPrefetchable: true }],
      ]),
      capabilities: [msixCapability(msix), ...structures()],
    },
  };
}

function structures(): PciCapability[] {
  const { VIRTIO_CAP_COMMON, VIRTIO_CAP_ISR, VIRTIO_CAP_DEVICE, VIRTIO_CAP_NOTIFY } = r;
  return [
    structure(VIRTIO_CAP_COMMON, 0, r.ISR_OFFSET),
    structure(VIRTIO_CAP_ISR, r.ISR_OFFSET, r.DEVICE_OFFSET - r.ISR_OFFSET),
    structure(VIRTIO_CAP_DEVICE, r.DEVICE_OFFSET, r.NOTIFY_OFFSET - r.DEVICE_OFFSET),
    structure(
      VIRTIO_CAP_NOTIFY,
      r.NOTIFY_OFFSET,
      r.MODERN_BAR_BYTES - r.NOTIFY_OFFSET,
      r.NOTIFY_MULTIPLIER,
    ),
  ];
}

function structure(
  type: number,
  offset: number,
  lengthBytes: number,
  more?: number,
): PciCapability {
  const bytes = new Uint8Array(more === undefined ? 14 : 18);
  const view = new DataView(bytes.buffer);
  bytes[0] = bytes.length + 2;
  bytes[1] = type;
  bytes[2] = MODERN_BAR;
  view.setUint32(6, offset, true);
  view.setUint32(10, lengthBytes, true);
  if (more !== undefined) view.setUint32(14, more, true);
  return { id: r.CAP_VENDOR, bytes, writable: new Uint8Array(bytes.length) };
}
