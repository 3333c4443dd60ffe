import type { GuestMemory } from '#hw/guest-memory.ts';
import { paddrOf } from '#hw/guest-memory.ts';
import { F_EVENT_INDEX, F_INDIRECT, F_PACKED, F_VERSION_1, VirtQueue } from '../queue.ts';
import type { VirtioDevice } from './virtio-device.ts';

// What all transports have: status, features, queues. Source: virtio 1.2, 2.1 to 2.6 and 3.1.

const STATUS_DRIVER_OK = 4;
const STATUS_FEATURES_OK = 8;
const STATUS_NEEDS_RESET = 64;
const LEGACY_FEATURES = 0xffff_ffffn & ~F_VERSION_1;

/** What a driver says of a queue. */
export interface QueueSetting {
  size: number;
  enabled: boolean;
  vector: number;
  /** Low and high halves: descriptors, driver, device. */
  readonly addresses: Uint32Array;
}

export interface CoreWires {
  readonly memory: GuestMemory;
  readonly interruptQueue: (queue: number) => void;
  readonly interruptConfig: () => void;
}

export const NO_VECTOR = 0xffff;

export class VirtioCore {
  readonly device: VirtioDevice;
  readonly settings: readonly QueueSetting[];
  readonly #wires: CoreWires;
  readonly #offered: bigint;
  #accepted = 0n;
  #status = 0;
  #beforeReset = 0;
  #isRunning = false;
  #isLegacy = false;
  featureSelect = 0;
  driverFeatureSelect = 0;
  queueSelect = 0;
  configGeneration = 0;

  constructor(device: VirtioDevice, wires: CoreWires) {
    this.device = device;
    this.#wires = wires;
    this.#offered = device.features | F_INDIRECT | F_EVENT_INDEX | F_VERSION_1 | F_PACKED;
    device.onConfigChange?.(() => this.#configChanged());
    this.settings = device.queueSizes.map((size) => ({
      size,
      enabled: false,
      vector: NO_VECTOR,
      addresses: new Uint32Array(6),
    }));
  }

  reset(): void {
    this.device.stop();
    this.#isRunning = false;
    this.#isLegacy = false;
    this.#accepted = 0n;
    if (this.#status !== 0) this.#beforeReset = this.#status;
    this.#status = 0;
    this.featureSelect = 0;
    this.driverFeatureSelect = 0;
    this.queueSelect = 0;
    for (const [index, setting] of this.settings.entries()) {
      setting.size = this.device.queueSizes[index] ?? 0;
      setting.enabled = false;
      setting.vector = NO_VECTOR;
      setting.addresses.fill(0);
    }
  }

  /** The driver goes by the legacy interface, which has no features above 31 and one address a queue. */
  beLegacy(): void {
    this.#isLegacy = true;
  }

  get selected(): QueueSetting | undefined {
    return this.settings[this.queueSelect];
  }

  // ---- Features, 32 at a time.

  offered(half: number): number {
    if (half > 1) return 0;
    const offered = this.#isLegacy ? this.#offered & LEGACY_FEATURES : this.#offered;
    return Number(BigInt.asUintN(32, offered >> BigInt(32 * half)));
  }

  accepted(half: number): number {
    return half > 1 ? 0 : Number(BigInt.asUintN(32, this.#accepted >> BigInt(32 * half)));
  }

  accept(half: number, bits: number): void {
    if (half > 1 || this.#status & STATUS_FEATURES_OK) return;
    const shift = BigInt(32 * half);
    const kept = this.#accepted & ~(0xffff_ffffn << shift);
    this.#accepted = kept | (BigInt(bits >>> 0) << shift);
  }

  /** Features that a driver chose without being offered them, or the old interface with the new transport. */
  #areFeaturesWrong(): boolean {
    return (this.#accepted & ~this.#offered) !== 0n || (this.#accepted & F_VERSION_1) === 0n;
  }

  // ---- Status (2.1).

  /** A reset is seen as done (0) only when the device no longer touches the driver's memory (2.4.1). */
  get status(): number {
    return this.#status === 0 && !this.device.isIdle ? this.#beforeReset : this.#status;
  }

  setStatus(value: number): void {
    if (value === 0) {
      this.reset();
      return;
    }
    const broken = this.#status & STATUS_NEEDS_RESET;
    this.#status = (value & 0xff) | broken;
    if (!this.#isLegacy && value & STATUS_FEATURES_OK && this.#areFeaturesWrong())
      this.#status &= ~STATUS_FEATURES_OK;
    if (value & STATUS_DRIVER_OK && !broken) this.#start();
  }

  #start(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    this.#accepted &= this.#isLegacy ? this.#offered & LEGACY_FEATURES : this.#offered;
    const queues = this.settings.map((setting, index) => this.#makeQueue(setting, index));
    this.device.start(queues, this.#accepted);
    // A driver may have filled a queue before it said that it is ready.
    for (const index of queues.keys()) this.notify(index);
  }

  #makeQueue(setting: QueueSetting, index: number): VirtQueue | undefined {
    if (!setting.enabled) return undefined;
    const [desc = 0, descHigh = 0, driver = 0, driverHigh = 0, device = 0, deviceHigh = 0] =
      setting.addresses;
    const queue = VirtQueue.at({
      memory: this.#wires.memory,
      features: this.#accepted,
      place: {
        size: setting.size,
        descPaddr: paddrOf(desc, descHigh),
        driverPaddr: paddrOf(driver, driverHigh),
        devicePaddr: paddrOf(device, deviceHigh),
      },
      interrupt: () => this.#wires.interruptQueue(index),
      broken: () => this.#break(),
    });
    if (queue === undefined) this.#break();
    return queue;
  }

  #break(): void {
    this.#status |= STATUS_NEEDS_RESET;
    this.#wires.interruptConfig();
  }

  /** 2.5: a driver that reads the configuration meanwhile sees that by its generation. */
  #configChanged(): void {
    this.configGeneration++;
    if (this.#isRunning) this.#wires.interruptConfig();
  }

  notify(queue: number): void {
    if (this.#isRunning && !(this.#status & STATUS_NEEDS_RESET)) this.device.notify(queue);
  }

  // ---- Queues.

  /**
   * A legacy queue: all three parts behind one another, the used ring where the next `alignBytes` begin (2.7.2). Address 0
   * takes it away.
   */
  placeLegacy(setting: QueueSetting, desc: number, alignBytes: number): void {
    const driver = desc + 16 * setting.size;
    const device = Math.ceil((driver + 6 + 2 * setting.size) / alignBytes) * alignBytes;
    for (const [index, paddr] of [desc, driver, device].entries()) {
      setting.addresses[index * 2] = paddr;
      setting.addresses[index * 2 + 1] = paddr / 2 ** 32;
    }
    setting.enabled = desc !== 0;
  }

  // ---- The device's configuration space.

  readConfig(offset: number, size: number): number {
    const bytes = this.device.config();
    let value = 0;
    for (let i = size - 1; i >= 0; i--) value = value * 256 + (bytes[offset + i] ?? 0);
    return value;
  }

  writeConfig(offset: number, size: number, value: number): void {
    for (let i = 0; i < size; i++) this.device.writeConfig(offset + i, (value >>> (8 * i)) & 0xff);
  }
}
