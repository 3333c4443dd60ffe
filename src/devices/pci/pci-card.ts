import type { Device } from '#hw/device.ts';
import type { GuestMemory } from '#hw/guest-memory.ts';
import type { MmioPlan } from './mmio-plan.ts';
import type { PciDescription } from './pci-function.ts';

/**
 * A PCI function on the device thread: the registers behind its BARs. Configuration space and the MSI-X table are on the
 * vCPU's side, over state that both share. With another plan it is no function: its registers, at an address of the board's,
 * are those of BAR 0, and its interrupt is INTx#.
 */
export interface PciCard extends Device {
  readonly plan: PciCardPlan | MmioPlan;
  /** `size` is 1, 2 or 4. */
  readBar(bar: number, offset: number, size: number): number;
  writeBar(bar: number, offset: number, size: number, value: number): void;
  /** Resolves when no request is under way. */
  idle(): Promise<void>;
}

/** What the vCPU's side must know of a card. */
export interface PciCardPlan {
  /** What traces call it. */
  readonly name: string;
  readonly description: PciDescription;
  /** The BAR of the MSI-X table, which is no other's; a capability in the description tells of it. */
  readonly msix?: MsixPlace;
}

export interface MsixPlace {
  readonly bar: number;
  readonly vectors: number;
}

/** What a card is wired to. */
export interface PciCardWires {
  readonly memory: GuestMemory;
  readonly interrupts: PciInterrupts;
}

export interface PciInterrupts {
  /** Whether the guest has chosen MSI-X: then INTx# is silent. */
  readonly isMsixEnabled: boolean;
  /** Sends the message of a vector, or keeps it pending while that is masked. Out of range: nothing. */
  msix(vector: number): void;
  setIntx(asserted: boolean): void;
}
