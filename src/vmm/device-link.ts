import type { MemoryLayout } from '#cpu/layout.ts';
import { MSIX_STATE } from '#devices/pci/msix.ts';
import type { PciCardPlan } from '#devices/pci/pci-card.ts';
import { PCI_FUNCTION_STATE } from '#devices/pci/pci-function.ts';
import type { DeviceState } from '#hw/device.ts';
import { MemoryGate } from '#hw/memory-gate.ts';

// What the vCPU's thread and the device thread share, in words from here. One writer and one reader each.

/** From the layout's `devices`: behind the console's ring and the chips' states. */
const LINK_OFFSET = 512 * 1024;

const PUSHED = 0; // accesses that the vCPU has put into the ring; wraps
const TAKEN = 1;
const AWAKE = 2; // 1 while the device thread has been told to look
const ANSWERED = 3; // reads answered; wraps
const ANSWER = 4;
const LINES = 5; // INTx# of the cards, a bit a slot
const STALE_PUSHED = 6; // pages written by devices that held code; wraps
const STALE_TAKEN = 7;
const STALE_LOST = 8; // 1 when there were too many
const GATE = 9; // of hw/memory-gate.ts
const SLOT_EVENTS = 10; // told to the vCPU; wraps
const PAUSED = 11; // 1 while the machine is to stand still
const SERVING = 12; // 1 while the device thread serves what was posted
const RING = 64;
const RING_ENTRIES = 1024;
const ENTRY_WORDS = 4; // what, offset, value
const STALE = RING + RING_ENTRIES * ENTRY_WORDS;
const STALE_ENTRIES = 4096;
const SLOTS = STALE + STALE_ENTRIES;
const SLOT_WORDS = PCI_FUNCTION_STATE.i32 + MSIX_STATE.i32;
const LINK_SLOTS = 32;

export interface PlacedCard {
  readonly slot: number;
  readonly plan: PciCardPlan;
}

/** An access to a register of a card. */
export interface CardAccess {
  readonly slot: number;
  readonly bar: number;
  readonly offset: number;
  readonly size: number;
  /** Undefined for a read. */
  readonly value: number | undefined;
}

/** What the vCPU's side is told of slots, while the guest runs. */
export type SlotEvent =
  | { readonly type: 'plug'; readonly card: PlacedCard }
  /** The guest is to give the card up, or loses it at once. */
  | { readonly type: 'ask' | 'pull'; readonly slot: number };

/** In the place of a BAR's number: the slot has been switched off. */
export const SLOT_OFF = 0xff;

const IS_READ = 1 << 31;

/** Registers of cards, posted by the vCPU and served by the device thread in their order; a read waits for its answer. */
export class DeviceLink {
  readonly #words: Int32Array;
  readonly #at: number;
  /** Between lockstep mode and the devices. */
  readonly gate: MemoryGate;

  constructor(memory: WebAssembly.Memory, layout: MemoryLayout) {
    this.#at = (layout.devices + LINK_OFFSET) >> 2;
    this.#words = new Int32Array(memory.buffer, this.#at * 4, SLOTS + LINK_SLOTS * SLOT_WORDS);
    this.gate = new MemoryGate(this.#words, GATE);
  }

  /** The state of the function in a slot: configuration space, and MSI-X. */
  slotState(slot: number): { config: DeviceState; msix: DeviceState } {
    const at = SLOTS + slot * SLOT_WORDS;
    const f64 = new Float64Array(0);
    const split = at + PCI_FUNCTION_STATE.i32;
    return {
      config: { i32: this.#words.subarray(at, split), f64 },
      msix: { i32: this.#words.subarray(split, split + MSIX_STATE.i32), f64 },
    };
  }

  // ---- The vCPU's side.

  /** True when the device thread must be woken. */
  post(access: CardAccess): boolean {
    const words = this.#words;
    const pushed = Atomics.load(words, PUSHED);
    for (let taken = Atomics.load(words, TAKEN); ((pushed - taken) | 0) >= RING_ENTRIES; ) {
      Atomics.wait(words, TAKEN, taken);
      taken = Atomics.load(words, TAKEN);
    }
    const at = RING + ((pushed >>> 0) % RING_ENTRIES) * ENTRY_WORDS;
    const { slot, bar, size, value } = access;
    words[at] = (slot << 16) | (bar << 8) | size | (value === undefined ? IS_READ : 0);
    words[at + 1] = access.offset;
    words[at + 2] = value ?? 0;
    Atomics.store(words, PUSHED, (pushed + 1) | 0);
    return Atomics.exchange(words, AWAKE, 1) === 0;
  }

  /** Something is posted, and the device thread does nothing yet. */
  get isUnserved(): boolean {
    return this.hasPosted && Atomics.load(this.#words, SERVING) === 0;
  }

  /** The count of answers, to be taken before a read is posted. */
  get answered(): number {
    return Atomics.load(this.#words, ANSWERED);
  }

  /** Waits for the answer behind `answered`. */
  waitForAnswer(answered: number): number {
    while (Atomics.load(this.#words, ANSWERED) === answered)
      Atomics.wait(this.#words, ANSWERED, answered);
    return Atomics.load(this.#words, ANSWER) >>> 0;
  }

  /** Behind all accesses to the card: none follow. True when the device thread must be woken. */
  postSlotOff(slot: number): boolean {
    return this.post({ slot, bar: SLOT_OFF, offset: 0, size: 0, value: 0 });
  }

  /** The count of slot events: they themselves come by message. */
  get slotEvents(): number {
    return Atomics.load(this.#words, SLOT_EVENTS);
  }

  get lines(): number {
    return Atomics.load(this.#words, LINES);
  }

  /** Pages to be looked at; undefined when that is all of them. */
  takeStale(): readonly number[] | undefined {
    const words = this.#words;
    const pages: number[] = [];
    const pushed = Atomics.load(words, STALE_PUSHED);
    let taken = Atomics.load(words, STALE_TAKEN);
    for (; taken !== pushed; taken = (taken + 1) | 0)
      pages.push(words[STALE + ((taken >>> 0) % STALE_ENTRIES)] ?? 0);
    Atomics.store(words, STALE_TAKEN, taken);
    return Atomics.exchange(words, STALE_LOST, 0) === 0 ? pages : undefined;
  }

  get isPaused(): boolean {
    return Atomics.load(this.#words, PAUSED) !== 0;
  }

  waitWhilePaused(mostMs: number): void {
    Atomics.wait(this.#words, PAUSED, 1, mostMs);
  }

  // ---- The device thread's side.

  setPaused(isPaused: boolean): void {
    Atomics.store(this.#words, PAUSED, isPaused ? 1 : 0);
    Atomics.notify(this.#words, PAUSED);
  }

  /** The vCPU has posted what has not been taken, and may wait for it. */
  get hasPosted(): boolean {
    return Atomics.load(this.#words, TAKEN) !== Atomics.load(this.#words, PUSHED);
  }

  setServing(isServing: boolean): void {
    Atomics.store(this.#words, SERVING, isServing ? 1 : 0);
  }

  /** What comes after this is told by a new wake. */
  sleep(): void {
    Atomics.store(this.#words, AWAKE, 0);
  }

  take(): CardAccess | undefined {
    const words = this.#words;
    const taken = Atomics.load(words, TAKEN);
    if (taken === Atomics.load(words, PUSHED)) return undefined;
    const at = RING + ((taken >>> 0) % RING_ENTRIES) * ENTRY_WORDS;
    const what = words[at] ?? 0;
    const access: CardAccess = {
      slot: (what >> 16) & 0xff,
      bar: (what >> 8) & 0xff,
      size: what & 0xff,
      offset: (words[at + 1] ?? 0) >>> 0,
      value: what & IS_READ ? undefined : (words[at + 2] ?? 0) >>> 0,
    };
    Atomics.store(words, TAKEN, (taken + 1) | 0);
    Atomics.notify(words, TAKEN);
    return access;
  }

  answer(value: number): void {
    Atomics.store(this.#words, ANSWER, value | 0);
    Atomics.add(this.#words, ANSWERED, 1);
    Atomics.notify(this.#words, ANSWERED);
  }

  /** A slot event has been sent. */
  countSlotEvent(): void {
    Atomics.add(this.#words, SLOT_EVENTS, 1);
  }

  /** True when the line has changed. */
  setLine(slot: number, asserted: boolean): boolean {
    const bit = 1 << slot;
    const before = asserted
      ? Atomics.or(this.#words, LINES, bit)
      : Atomics.and(this.#words, LINES, ~bit);
    return ((before & bit) !== 0) !== asserted;
  }

  pushStale(page: number): void {
    const words = this.#words;
    const pushed = Atomics.load(words, STALE_PUSHED);
    if (((pushed - Atomics.load(words, STALE_TAKEN)) | 0) >= STALE_ENTRIES) {
      Atomics.store(words, STALE_LOST, 1);
      return;
    }
    words[STALE + ((pushed >>> 0) % STALE_ENTRIES)] = page;
    Atomics.store(words, STALE_PUSHED, (pushed + 1) | 0);
  }
}
