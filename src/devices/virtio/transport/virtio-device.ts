import type { GuestMemory } from '#hw/guest-memory.ts';
import type { VirtQueue } from '../queue.ts';

/** A device behind any transport. */
export interface VirtioDevice {
  /** Virtio 1.2, chapter 5. */
  readonly deviceId: number;
  /** Class, subclass, programming interface, for PCI. */
  readonly classCode: number;
  /** Those of the device's own; the transport adds those of queues. */
  readonly features: bigint;
  /** The most entries of each queue. */
  readonly queueSizes: readonly number[];
  /** The configuration space as the driver reads it now. */
  config(): Uint8Array;
  /** Hears when it has changed by itself; without this it never does. */
  onConfigChange?(listener: () => void): void;
  /** A byte of it is written. */
  writeConfig(offset: number, byte: number): void;
  /** The driver is ready; a queue that it has not made is undefined. */
  start(queues: readonly (VirtQueue | undefined)[], features: bigint): void;
  /** The driver has made a chain available. */
  notify(queue: number): void;
  /** Forgets the queues: what is under way is answered to nobody. */
  stop(): void;
  /** Whether nothing is under way: until then a device that was stopped may still write to the guest's memory. */
  readonly isIdle: boolean;
  /** Resolves when nothing is under way. */
  idle(): Promise<void>;
}

/** What a device is wired to. */
export interface VirtioWires {
  readonly memory: GuestMemory;
}
