import { randomBytes } from 'node:crypto';
import type { VcpuExit } from '#accel/accel.ts';
import { type CpuModel, cpuid } from '#cpu/cpuid.ts';
import { IRQCHIP_PORTS, IrqChip } from '#cpu/irqchip/irqchip.ts';
import { PENDING_INIT, PENDING_NMI } from '#cpu/irqchip/lapic-regs.ts';
import type { MemoryLayout } from '#cpu/layout.ts';
import type { VcpuHost } from '#cpu/vcpu-host.ts';
import type { DeviceLog, PortDevice } from '#hw/device.ts';
import type { MemoryGate } from '#hw/memory-gate.ts';
import {
  ATTN_INTERRUPT,
  ATTN_STOP,
  PHYS_BITS,
  S_A20_MASK,
  S_ATTENTION,
  S_ROM_PADDR,
  S_SCRATCH,
  S_TSC_OFFSET,
} from '#ir/state.ts';
import { S_IGNNE } from '#ir/state-system.ts';
import type { PlacedMmio } from '#machines/mmio-cards.ts';
import { PcBoard } from '#machines/pc.ts';
import type { PciSlot } from '#machines/pci-cards.ts';
import { chipState } from './chip-state.ts';
import { type CardAccess, DeviceLink, type PlacedCard, type SlotEvent } from './device-link.ts';
import type { GuestClock } from './guest-clock.ts';
import { InputRing } from './mailbox.ts';
import { describeUndefined } from './undefined-instruction.ts';

const A20_BIT = 1 << 20;
/** A machine that stands still looks so often whether it is to end. */
const STOP_LOOK_MS = 50;
const OUTPUT_BATCH = 4096;
/** Console output waits at most this long for more. */
const OUTPUT_DELAY_NS = 2_000_000;
const LINE_FEED = 10;
const MOST_UNDEFINED = 100;
/** After so many exits the clock is looked at, however few instructions ran: they may take longer than any of those. */
const EXITS_BETWEEN_LOOKS = 64;
/** So long after the last poll exits ask for another. */
const MOST_POLL_NS = 150_000;

export interface BoardOptions {
  readonly memory: WebAssembly.Memory;
  readonly layout: MemoryLayout;
  readonly ramBytes: number;
  readonly model: CpuModel;
  readonly clock: GuestClock;
  readonly log: DeviceLog;
  readonly output: (bytes: Uint8Array) => void;
  readonly cards: readonly (PlacedCard | PlacedMmio)[];
  /** No firmware runs that would place the cards' registers. */
  readonly assignCards: boolean;
  /** The next slot event that the device thread has sent. */
  readonly takeSlotEvent: () => SlotEvent | undefined;
  /** Makes the device thread look at its link. */
  readonly wakeDevices: () => void;
  /** Told once: the guest has halted with interrupts disabled. */
  readonly haltedForGood: () => void;
}

/** Counts of what left translated code, by reason. */
export interface ExitCounts {
  port: number;
  mmio: number;
  /** Those of the APIC. */
  msr: number;
  cpuid: number;
}

function isPci(card: PlacedCard | PlacedMmio): card is PlacedCard {
  return 'description' in card.plan;
}

/** The board as vCPU 0's thread sees it: interrupt controllers, chips, console. */
export class BoardHost implements VcpuHost {
  readonly exits: ExitCounts = { port: 0, mmio: 0, msr: 0, cpuid: 0 };
  readonly #options: BoardOptions;
  readonly #irqchip: IrqChip;
  readonly #board: PcBoard;
  readonly #input: InputRing;
  readonly #link: DeviceLink;
  readonly gate: MemoryGate;
  readonly #view: DataView;
  readonly #words: Int32Array;
  readonly #cpu: number;
  #exit: VcpuExit | undefined;
  #output = new Uint8Array(OUTPUT_BATCH);
  #outputLength = 0;
  #outputSince = 0;
  #lineFlushedNs = 0;
  #undefined = 0;
  #hasHalted = false;
  #exitsSinceLook = 0;
  #polledNs = 0;
  /** When the next timer is due; NaN: one has been touched since that was known. */
  #dueNs = Number.NaN;
  /** The same of the board's alone. */
  #boardDueNs = Number.NaN;
  #isPolling = false;
  #slotEvents = 0;

  constructor(options: BoardOptions) {
    const { memory, layout, clock, log } = options;
    this.#options = options;
    this.#cpu = layout.cpus[0] ?? 0;
    this.#view = new DataView(memory.buffer);
    this.#words = new Int32Array(memory.buffer);
    this.#input = new InputRing(memory.buffer, layout.devices);
    this.#link = new DeviceLink(memory, layout);
    this.gate = this.#link.gate;
    const state = chipState(memory, layout);
    this.#irqchip = new IrqChip(state.irqchip, {
      vcpus: layout.cpus.length,
      clock,
      paddrBits: PHYS_BITS,
      tscToNs: (_vcpu, tsc) => Number(tsc - this.#view.getBigInt64(this.#cpu + S_TSC_OFFSET, true)),
      attention: () => this.#attention(),
    });
    this.#board = new PcBoard(state.board, {
      memoryBytes: options.ramBytes,
      clock,
      log,
      line: (gsi) => this.#irqchip.line(gsi),
      setPitIrqConnected: (connected) => this.#irqchip.setPitIrqConnected(connected),
      setA20: (enabled) => this.#setA20(enabled),
      consoleOutput: (byte) => this.#print(byte),
      debugOutput: (byte) => this.#printDebug(byte),
      consoleDrained: () => this.#feedConsole(),
      ignoreNumericError: () => this.#view.setUint32(this.#cpu + S_IGNNE, 1, true),
      powerOff: () => this.#end({ type: 'power-off' }),
      reset: () => this.#end({ type: 'reset' }),
      debugExit: (value) => this.#end({ type: 'debug-exit', value: value & 0xff }),
      cards: options.cards.filter(isPci).map((card) => this.#inSlot(card)),
      mmioCards: options.cards.filter((card): card is PlacedMmio => !isPci(card)),
      cardRegisters: {
        read: (slot, bar, offset, size) => this.#readCard(slot, bar, offset, size),
        write: (slot, bar, offset, size, value) => this.#post({ slot, bar, offset, size, value }),
      },
      cardLeft: (slot) => {
        if (this.#link.postSlotOff(slot)) options.wakeDevices();
      },
      sendMsi: (address, data) => void this.#irqchip.sendMsi(address, data),
    });
    for (const { base, count, name } of IRQCHIP_PORTS)
      this.#board.ports.map(base, count, this.#irqchipPorts(base), name);
    this.#irqchip.reset();
    this.#board.reset();
    if (options.assignCards) this.#board.cards.assign();
  }

  #irqchipPorts(base: number): PortDevice {
    return {
      reset: () => {},
      readPort: (offset, size) => this.#irqchip.readPort(base + offset, size),
      writePort: (offset, size, value) => this.#irqchip.writePort(base + offset, size, value),
    };
  }

  /** Makes the vCPU look at its interrupts at the next block. After `poll` it does so anyway. */
  #attention(): void {
    if (this.#isPolling) return;
    Atomics.or(this.#words, (this.#cpu + S_ATTENTION) >> 2, ATTN_INTERRUPT);
  }

  #setA20(enabled: boolean): void {
    this.#view.setUint32(this.#cpu + S_A20_MASK, enabled ? 0xffffffff : ~A20_BIT >>> 0, true);
    this.a20Changed?.();
  }

  sample?: (nowNs: number, halted: boolean) => void;
  /** Drops what was looked up through the old mask. */
  a20Changed: (() => void) | undefined;

  #end(exit: VcpuExit): void {
    this.#exit ??= exit;
    this.#attention();
  }

  // ---- cards, which are on the device thread

  #inSlot(card: PlacedCard): PciSlot {
    return { ...card, state: this.#link.slotState(card.slot) };
  }

  #takeSlotEvents(): void {
    this.#slotEvents = this.#link.slotEvents;
    for (;;) {
      const event = this.#options.takeSlotEvent();
      if (event === undefined) return;
      if (event.type === 'plug') this.#board.plugCard(this.#inSlot(event.card));
      else if (event.type === 'ask') this.#board.askForCard(event.slot);
      else this.#board.pullCard(event.slot);
    }
  }

  #post(access: CardAccess): void {
    if (this.#link.post(access)) this.#options.wakeDevices();
  }

  #readCard(slot: number, bar: number, offset: number, size: number): number {
    const { answered } = this.#link;
    this.#post({ slot, bar, offset, size, value: undefined });
    const value = this.#link.waitForAnswer(answered);
    // A read may end an interrupt: its line must fall before the guest ends it at the controller.
    this.#board.setCardLines(this.#link.lines);
    return value;
  }

  // ---- console

  #print(byte: number): void {
    if (this.#outputLength === 0) this.#outputSince = this.#options.clock.nowNs();
    this.#output[this.#outputLength++] = byte;
    if (this.#outputLength === OUTPUT_BATCH) this.flush();
  }

  /** Who measures by the debug port is to have a line when it is written, unless there are very many. */
  #printDebug(byte: number): void {
    this.#print(byte);
    if (byte !== LINE_FEED) return;
    const now = this.#options.clock.nowNs();
    if (now - this.#lineFlushedNs < OUTPUT_DELAY_NS) return;
    this.#lineFlushedNs = now;
    this.flush();
  }

  /** Hands over the output gathered so far. */
  flush(): void {
    if (this.#outputLength === 0) return;
    this.#options.output(this.#output.slice(0, this.#outputLength));
    this.#outputLength = 0;
  }

  #feedConsole(): void {
    for (let byte = this.#input.peek(); byte >= 0; byte = this.#input.peek()) {
      if (!this.#board.consoleInput(byte)) return;
      this.#input.take();
    }
  }

  // ---- names for traces

  portName(port: number): string {
    return this.#board.ports.nameAt(port);
  }

  mmioName(paddr: number): string {
    const page = Math.floor(paddr / 4096);
    return this.#irqchip.ownsPage(0, page)
      ? this.#irqchip.nameOfPage(0, page)
      : this.#board.mmio.nameAt(paddr);
  }

  // ---- VcpuHost

  /** An exit takes as long as hundreds of instructions, so a slice of a million would not end in time. */
  #count(reason: keyof ExitCounts): void {
    this.exits[reason]++;
    if (++this.#exitsSinceLook < EXITS_BETWEEN_LOOKS) return;
    this.#exitsSinceLook = 0;
    const now = this.#options.clock.nowNs();
    if (now - this.#polledNs >= MOST_POLL_NS) this.#attention();
  }

  #touchBoard(): void {
    this.#boardDueNs = Number.NaN;
    this.#dueNs = Number.NaN;
  }

  portRead(port: number, size: number): number {
    this.#count('port');
    this.#touchBoard();
    return this.#board.ports.read(port, size);
  }

  portWrite(port: number, size: number, value: number): void {
    this.#count('port');
    this.#touchBoard();
    this.#board.ports.write(port, size, value);
  }

  mmioRead(paddr: number, size: number): number {
    this.#count('mmio');
    if (this.#irqchip.ownsPage(0, Math.floor(paddr / 4096)))
      return this.#irqchip.readMmio(0, paddr, size);
    this.#touchBoard();
    return this.#board.mmio.read(paddr, size);
  }

  mmioWrite(paddr: number, size: number, value: number): void {
    this.#count('mmio');
    if (this.#irqchip.ownsPage(0, Math.floor(paddr / 4096))) {
      this.#dueNs = Number.NaN;
      this.#irqchip.writeMmio(0, paddr, size, value);
      return;
    }
    this.#touchBoard();
    this.#board.mmio.write(paddr, size, value);
  }

  /** A tick is a nanosecond: TSC_KHZ of cpu/cpuid.ts. A guest that has seen the time go by is to find what was due before. */
  tsc(): number {
    const now = this.#options.clock.nowNs();
    if (!(now < this.#dueNs)) this.#noticeDue(now);
    return Math.floor(now);
  }

  #noticeDue(now: number): void {
    if (now >= this.nextDeadlineNs()) this.#attention();
  }

  random32(): number {
    return randomBytes(4).readInt32LE();
  }

  cpuid(): void {
    this.#count('cpuid');
    cpuid(this.#options.memory, this.#cpu, this.#options.model);
  }

  apicMsrRead(msr: number): boolean {
    this.#count('msr');
    const value = this.#irqchip.readMsr(0, msr);
    if (value === undefined) return false;
    this.#view.setBigUint64(this.#cpu + S_SCRATCH, BigInt.asUintN(64, value), true);
    return true;
  }

  apicMsrWrite(msr: number): boolean {
    this.#count('msr');
    this.#dueNs = Number.NaN;
    return this.#irqchip.writeMsr(0, msr, this.#view.getBigUint64(this.#cpu + S_SCRATCH, true));
  }

  /** An interrupt of the local APIC's timer that is not due. */
  pulseTimer(): void {
    this.#irqchip.lapic(0).pulseTimer();
  }

  tscMoved(): void {
    this.#dueNs = Number.NaN;
    this.#irqchip.lapic(0).tscMoved();
  }

  unknownMsr(msr: number, write: boolean): void {
    this.#options.log.guestBug(
      `${write ? 'write to' : 'read of'} MSR 0x${msr.toString(16)}, which is not there`,
    );
  }

  undefinedInstruction(): void {
    // Some programs live on #UD: looking at each would cost them more than the exception.
    if (this.#undefined++ >= MOST_UNDEFINED) return;
    const { memory, layout, model, log } = this.#options;
    const text = describeUndefined(memory, layout, model);
    if (text !== undefined) log.guestBug(text);
  }

  numericError(): void {
    this.#board.numericError();
  }

  taskPriority(): number {
    return this.#irqchip.lapic(0).cr8;
  }

  setTaskPriority(value: number): void {
    this.#irqchip.lapic(0).cr8 = value;
  }

  hasInterrupt(): boolean {
    return this.#irqchip.hasInterrupt(0);
  }

  acknowledge(): number {
    return this.#irqchip.acknowledge(0);
  }

  takeNmi(): boolean {
    const lapic = this.#irqchip.lapic(0);
    return (lapic.pending & PENDING_NMI) !== 0 && lapic.take(PENDING_NMI);
  }

  /** Without firmware at the reset vector the machine begins anew, as firmware would have it. */
  takeInit(): boolean {
    const lapic = this.#irqchip.lapic(0);
    if ((lapic.pending & PENDING_INIT) === 0 || !lapic.take(PENDING_INIT)) return false;
    lapic.init();
    this.#dueNs = Number.NaN;
    const hasFirmware = this.#view.getUint32(this.#cpu + S_ROM_PADDR, true) !== 0;
    if (!hasFirmware) this.#end({ type: 'reset' });
    return hasFirmware;
  }

  nextDeadlineNs(): number {
    if (!Number.isNaN(this.#dueNs)) return this.#dueNs;
    if (Number.isNaN(this.#boardDueNs)) this.#boardDueNs = this.#board.nextDeadlineNs();
    this.#dueNs = Math.min(this.#irqchip.nextDeadlineNs(0), this.#boardDueNs);
    return this.#dueNs;
  }

  nowNs(): number {
    return this.#options.clock.nowNs();
  }

  poll(nowNs: number): void {
    this.#polledNs = nowNs;
    if (this.#link.isPaused) this.#standStill();
    this.#isPolling = true;
    if (this.nextDeadlineNs() <= nowNs) {
      this.#touchBoard();
      this.#irqchip.advance(0, nowNs);
      this.#board.advance(nowNs);
    }
    this.#board.setCardLines(this.#link.lines);
    if (this.#link.slotEvents !== this.#slotEvents) this.#takeSlotEvents();
    if (this.#input.peek() >= 0) this.#feedConsole();
    this.#isPolling = false;
    if (this.#outputLength > 0 && nowNs - this.#outputSince > OUTPUT_DELAY_NS) this.flush();
  }

  /** Until the device thread lets the machine go on, or the run is to end. */
  #standStill(): void {
    const attention = (this.#cpu + S_ATTENTION) >> 2;
    const isStopped = () => (Atomics.load(this.#words, attention) & ATTN_STOP) !== 0;
    this.flush();
    this.#options.clock.standStill(() => {
      while (this.#link.isPaused && !isStopped()) this.#link.waitWhilePaused(STOP_LOOK_MS);
    });
  }

  awaitsDevices(): boolean {
    return this.#link.isUnserved;
  }

  beforeSleep(): void {
    this.flush();
  }

  haltedForGood(): void {
    if (this.#hasHalted) return;
    this.#hasHalted = true;
    this.#options.haltedForGood();
  }

  ended(): VcpuExit | undefined {
    return this.#exit;
  }

  invalidated(): readonly number[] | undefined {
    return this.#link.takeStale();
  }
}
