import { RequestError } from '#base/errors.ts';
import { IrqChip } from '#cpu/irqchip/irqchip.ts';
import type { MemoryLayout } from '#cpu/layout.ts';
import type { PciCard, PciCardWires } from '#devices/pci/pci-card.ts';
import type { GuestMemory } from '#hw/guest-memory.ts';
import { ATTN_INTERRUPT, ATTN_INVALIDATE, PHYS_BITS, S_ATTENTION } from '#ir/state.ts';
import type { PlacedMmio } from '#machines/mmio-cards.ts';
import { FIRST_CARD_SLOT } from '#machines/pc.ts';
import { makeFunction } from '#machines/pci-cards.ts';
import { chipState } from './chip-state.ts';
import { DeviceLink, type PlacedCard, SLOT_OFF, type SlotEvent } from './device-link.ts';
import { DevicePoll, type Polled } from './device-poll.ts';
import { VmMemory } from './vm-memory.ts';

/** Accesses served before other work of the thread has its turn. */
const MOST_AT_ONCE = 1024;

const LAST_CARD_SLOT = 31;

export type MakeCard = (wires: PciCardWires) => PciCard;

export interface DeviceHostOptions {
  readonly memory: WebAssembly.Memory;
  readonly layout: MemoryLayout;
  readonly ramBytes: number;
  readonly cards: readonly MakeCard[];
  /** The vCPU runs in lockstep mode, which devices must not disturb. */
  readonly verify: boolean;
  /** Sends to the vCPU's thread, which looks for it when it is counted. */
  readonly tellVcpu?: (event: SlotEvent) => void;
  /** A slot has been switched off, and its card has nothing under way. */
  readonly slotOff?: (slot: number) => void;
}

/** The cards of a VM, on the thread where devices live: serves what the vCPU posts, and interrupts it. */
export class DeviceHost {
  readonly #options: DeviceHostOptions;
  readonly #memory: GuestMemory;
  readonly #sendMsi: (address: number, data: number) => void;
  /** Those that are there from the beginning. */
  readonly placed: readonly (PlacedCard | PlacedMmio)[];
  readonly #link: DeviceLink;
  readonly #words: Int32Array;
  readonly #attentionAt: number;
  readonly #cards = new Map<number, PciCard>();
  readonly #poll: DevicePoll;
  #stopped = false;
  /** Counts uses of memory while lockstep mode is kept from it; undefined while it is not. */
  #uses: number | undefined;
  /** The vCPU waits for a read. */
  #isAnswering = false;

  constructor(options: DeviceHostOptions) {
    const { memory, layout, ramBytes, cards, verify } = options;
    this.#options = options;
    this.#link = new DeviceLink(memory, layout);
    this.#words = new Int32Array(memory.buffer);
    this.#attentionAt = ((layout.cpus[0] ?? 0) + S_ATTENTION) >> 2;
    this.#poll = new DevicePoll(this.#polled(), () => this.#serve());
    const vmMemory: GuestMemory = new VmMemory(memory, layout, ramBytes, (page) => {
      this.#link.pushStale(page);
      Atomics.or(this.#words, this.#attentionAt, ATTN_INVALIDATE);
    });
    // Sending a message touches nothing but the local APICs' atomic words: the vCPU's side has the rest.
    const irqchip = new IrqChip(chipState(memory, layout).irqchip, {
      vcpus: layout.cpus.length,
      clock: { nowNs: () => 0, wallMs: () => 0 },
      paddrBits: PHYS_BITS,
      tscToNs: () => 0,
      attention: () => this.#attention(),
    });
    this.#sendMsi = (address, data) => void irqchip.sendMsi(address, data);
    this.#memory = verify ? this.#gated(vmMemory) : vmMemory;
    this.placed = cards.map((make) => this.#place(make));
  }

  #polled(): Polled {
    const link = this.#link;
    const words = this.#words;
    const at = this.#attentionAt;
    return {
      get hasPosted() {
        return link.hasPosted;
      },
      get isAwaited() {
        return Atomics.load(words, at) !== 0;
      },
      sleep: () => link.sleep(),
    };
  }

  /** A card for the first empty slot. @throws {RequestError} when there is none. */
  #place(make: MakeCard): PlacedCard | PlacedMmio {
    for (let slot = FIRST_CARD_SLOT; slot <= LAST_CARD_SLOT; slot++) {
      if (this.#cards.has(slot)) continue;
      const card = this.#connect(slot, make);
      this.#cards.set(slot, card);
      const { plan } = card;
      return 'description' in plan ? { slot, plan } : { slot, plan };
    }
    const most = LAST_CARD_SLOT - FIRST_CARD_SLOT + 1;
    throw new RequestError(
      `the machine has ${most} slots, and all are taken; remove a disk`,
      'disk',
    );
  }

  /** Puts a card into an empty slot while the guest runs; gives the slot. @throws {RequestError} when there is none. */
  plug(make: MakeCard): number {
    const { slot, plan } = this.#place(make);
    if (!('description' in plan)) {
      this.#cards.delete(slot);
      throw new RequestError(
        'only PCI cards are plugged in; give bus=nvme, virtio or scsi',
        'disk',
      );
    }
    this.#tell({ type: 'plug', card: { slot, plan } });
    return slot;
  }

  /** Has the guest give up the card in a slot (`ask`), or takes it away at once; `slotOff` tells when that is done. */
  unplug(slot: number, how: 'ask' | 'pull'): void {
    this.#tell({ type: how, slot });
  }

  #tell(event: SlotEvent): void {
    this.#options.tellVcpu?.(event);
    this.#link.countSlotEvent();
    this.#attention();
  }

  #connect(slot: number, make: MakeCard): PciCard {
    let msix: ReturnType<typeof makeFunction>['msix'];
    const card = make({
      memory: this.#memory,
      interrupts: {
        get isMsixEnabled() {
          return msix?.isEnabled ?? false;
        },
        msix: (vector) => msix?.raise(vector),
        setIntx: (asserted) => {
          if (this.#link.setLine(slot, asserted)) this.#attention();
        },
      },
    });
    const { plan } = card;
    if ('description' in plan)
      ({ msix } = makeFunction({ slot, plan, state: this.#link.slotState(slot) }, this.#sendMsi));
    return card;
  }

  #gated(memory: GuestMemory): GuestMemory {
    return {
      bytes: (paddr, lengthBytes) => {
        this.#use();
        return memory.bytes(paddr, lengthBytes);
      },
      wrote: (paddr, lengthBytes) => memory.wrote(paddr, lengthBytes),
    };
  }

  /** Keeps lockstep mode from memory until no card has a request under way. */
  #use(): void {
    if (this.#uses !== undefined) {
      this.#uses++;
      return;
    }
    this.#uses = 0;
    this.#link.gate.enter(() => this.#isAnswering || this.#link.hasPosted);
    setImmediate(() => void this.#leaveWhenIdle());
  }

  async #leaveWhenIdle(): Promise<void> {
    for (let uses = -1; uses !== this.#uses; ) {
      uses = this.#uses ?? 0;
      await Promise.all([...this.#cards.values()].map((card) => card.idle()));
    }
    this.#uses = undefined;
    this.#link.gate.leave();
  }

  /** Lets the vCPU stand still, and the guest's time; devices go on. */
  setPaused(isPaused: boolean): void {
    this.#link.setPaused(isPaused);
    this.#attention();
  }

  #attention(): void {
    Atomics.or(this.#words, this.#attentionAt, ATTN_INTERRUPT);
    Atomics.notify(this.#words, this.#attentionAt);
  }

  /** The vCPU has posted something while this thread slept. */
  wake(): void {
    this.#poll.wake();
  }

  /** Serves what the vCPU has posted. */
  #serve(): void {
    this.#link.setServing(true);
    this.#serveSome();
    this.#link.setServing(false);
  }

  #serveSome(): void {
    for (let count = 0; count < MOST_AT_ONCE; count++) {
      const access = this.#stopped ? undefined : this.#link.take();
      if (access === undefined) return;
      const { slot, bar, offset, size, value } = access;
      const card = this.#cards.get(slot);
      if (bar === SLOT_OFF) void this.#takeOut(slot);
      else if (value !== undefined) card?.writeBar(bar, offset, size, value);
      else {
        this.#isAnswering = true;
        this.#link.answer(card?.readBar(bar, offset, size) ?? 0xffff_ffff);
        this.#isAnswering = false;
      }
    }
  }

  /** The slot stays taken until nothing of its card touches memory any more. */
  async #takeOut(slot: number): Promise<void> {
    const card = this.#cards.get(slot);
    card?.reset();
    await card?.idle();
    this.#cards.delete(slot);
    this.#options.slotOff?.(slot);
  }

  /** The guest no longer runs: resolves when no card has a request under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#poll.stop();
    for (const card of this.#cards.values()) card.reset();
    await Promise.all([...this.#cards.values()].map((card) => card.idle()));
  }
}
