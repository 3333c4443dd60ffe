// The PC's interrupt controllers and interval timer as one, as KVM has them in the kernel.
import { readBytes, writeBytes } from '#hw/bytes.ts';
import type { Clock, DeviceState, IrqLine } from '#hw/device.ts';
import { StateCarver, type StateSize } from '#hw/state.ts';
import { ApicBus } from './apic-bus.ts';
import { IOAPIC_PINS, IOAPIC_STATE, IoApic } from './ioapic.ts';
import { Lapic } from './lapic.ts';
import { LAPIC_STATE, PENDING_EXTINT } from './lapic-regs.ts';
import { parseMsi } from './message.ts';
import { PIC_ELCR, PIC_MASTER, PIC_SLAVE, PIC_STATE, Pic } from './pic.ts';
import { PIT_BASE, PIT_SPEAKER, PIT_STATE, Pit } from './pit.ts';

/** Where ISA's IRQ 0 arrives at the I/O APIC: the override that every PC's MADT names. */
const TIMER_GSI = 2;
const ISA_IRQS = 16;

/** 82093AA, 3.0: IOREGSEL's default address. */
const IOAPIC_PADDR = 0xfec0_0000;
const IOAPIC_PAGE = IOAPIC_PADDR / 4096;
const PAGE_BYTES = 4096;

/** The I/O ports that belong to these chips. */
export const IRQCHIP_PORTS: readonly {
  readonly base: number;
  readonly count: number;
  /** What traces call it. */
  readonly name: string;
}[] = [
  { base: PIC_MASTER, count: 2, name: 'pic' },
  { base: PIT_BASE, count: 4, name: 'pit' },
  { base: PIT_SPEAKER, count: 1, name: 'pit' },
  { base: PIC_SLAVE, count: 2, name: 'pic' },
  { base: PIC_ELCR, count: 2, name: 'pic' },
];

export interface IrqChipOptions {
  readonly vcpus: number;
  readonly clock: Clock;
  /** Physical address bits of the CPU model. */
  readonly paddrBits: number;
  /** The machine time at which the vCPU's time-stamp counter reaches `tsc`. */
  readonly tscToNs: (vcpu: number, tsc: bigint) => number;
  /** Something may have become deliverable to the vCPU, or a timer is due at once. From any thread. */
  readonly attention: (vcpu: number) => void;
}

export function irqChipStateSize(vcpus: number): StateSize {
  const parts = [PIC_STATE, IOAPIC_STATE, PIT_STATE];
  const sum = (kind: keyof StateSize) =>
    parts.reduce((total, part) => total + part[kind], vcpus * LAPIC_STATE[kind]);
  return { i32: sum('i32'), f64: sum('f64') };
}

/**
 * Lines are numbered as GSIs, which are the I/O APIC's pins; the PIC listens to those below 16. APIC IDs are the
 * numbers of the vCPUs, and vCPU 0 is the boot processor. Call `reset` once on a state that is all zeros.
 */
export class IrqChip {
  readonly #options: IrqChipOptions;
  readonly #pic: Pic;
  readonly #ioapic: IoApic;
  readonly #pit: Pit;
  readonly #bus: ApicBus;
  readonly #lapics: readonly Lapic[];

  constructor(state: DeviceState, options: IrqChipOptions) {
    const carver = new StateCarver(state);
    const { clock, paddrBits } = options;
    this.#options = options;
    this.#pic = new Pic(carver.take(PIC_STATE), (high) => {
      for (const lapic of this.#lapics) lapic.setLint0(high);
    });
    this.#ioapic = new IoApic(carver.take(IOAPIC_STATE), (message) => this.#bus.send(message));
    this.#pit = new Pit(carver.take(PIT_STATE), clock, this.line(TIMER_GSI));
    const bus = new ApicBus(options.attention, (vector) => this.#ioapic.eoi(vector));
    this.#bus = bus;
    this.#lapics = Array.from({ length: options.vcpus }, (_, vcpu) => {
      const tscToNs = (tsc: bigint) => options.tscToNs(vcpu, tsc);
      const identity = { vcpu, apicId: vcpu, isBsp: vcpu === 0 };
      const lapic = new Lapic(carver.take(LAPIC_STATE), {
        ...identity,
        paddrBits,
        clock,
        tscToNs,
        bus,
      });
      bus.add(lapic);
      return lapic;
    });
  }

  /** RESET#, of all vCPUs' local APICs too. */
  reset(): void {
    for (const lapic of this.#lapics) lapic.reset();
    this.#ioapic.reset();
    this.#pit.reset();
    this.#pic.reset();
  }

  /** @throws {RangeError} when there is no such vCPU. */
  lapic(vcpu: number): Lapic {
    const lapic = this.#lapics[vcpu];
    if (!lapic) throw new RangeError(`no vCPU ${vcpu}`);
    return lapic;
  }

  // ---- Inputs.

  setGsi(gsi: number, asserted: boolean): void {
    if (gsi === TIMER_GSI) this.#pic.setInput(0, asserted);
    else if (gsi > 0 && gsi < ISA_IRQS) this.#pic.setInput(gsi, asserted);
    if (gsi < IOAPIC_PINS) this.#ioapic.setInput(gsi, asserted);
  }

  line(gsi: number): IrqLine {
    return { set: (high) => this.setGsi(gsi, high) };
  }

  /** False when no local APIC took it, or the address is no interrupt message. */
  sendMsi(address: number, data: number): boolean {
    const message = parseMsi(address, data);
    return message !== undefined && this.#bus.send(message);
  }

  /** The board's NMI, which is wired to LINT1 of every vCPU. */
  pulseNmi(): void {
    for (const lapic of this.#lapics) lapic.pulseLint1();
  }

  /** False while an HPET in legacy mode drives IRQ 0. */
  setPitIrqConnected(connected: boolean): void {
    this.#pit.setIrqConnected(connected);
    this.#options.attention(0);
  }

  // ---- What a vCPU takes.

  /** Whether `acknowledge` would give a vector. NMI, INIT and start-up are in `lapic(vcpu).pending`. */
  hasInterrupt(vcpu: number): boolean {
    return this.#extInt(vcpu) || this.lapic(vcpu).pendingVector() >= 0;
  }

  /** The vector to deliver, which is in service from now on; -1 when there is none. */
  acknowledge(vcpu: number): number {
    const lapic = this.lapic(vcpu);
    let vector: number;
    if (this.#extInt(vcpu)) {
      lapic.take(PENDING_EXTINT);
      vector = this.#pic.acknowledge();
    } else {
      vector = lapic.pendingVector();
      if (vector >= 0) lapic.acceptVector(vector);
    }
    return vector;
  }

  #extInt(vcpu: number): boolean {
    const lapic = this.lapic(vcpu);
    // A message asks for the PIC's vector whether the PIC has one or not: that is the spurious one then.
    return (lapic.pending & PENDING_EXTINT) !== 0 || (lapic.extIntAccepted() && this.#pic.intr);
  }

  // ---- Time. Each vCPU's thread minds its own local APIC; that of vCPU 0 the PIT too.

  nextDeadlineNs(vcpu: number): number {
    const own = this.lapic(vcpu).nextDeadlineNs();
    return vcpu === 0 ? Math.min(own, this.#pit.nextDeadlineNs()) : own;
  }

  advance(vcpu: number, nowNs: number): void {
    if (vcpu === 0) this.#pit.advance(nowNs);
    this.lapic(vcpu).advance(nowNs);
  }

  // ---- Registers.

  /** `port` is the I/O address, one of `IRQCHIP_PORTS`. Wider accesses are bytes, low first. */
  readPort(port: number, size: number): number {
    return readBytes(port, size, (at) => this.#readPort8(at));
  }

  writePort(port: number, size: number, value: number): void {
    writeBytes(port, size, value, (at, byte) => this.#writePort8(at, byte));
  }

  #isPit(port: number): boolean {
    return (port >= PIT_BASE && port < PIT_BASE + 4) || port === PIT_SPEAKER;
  }

  #isPic(port: number): boolean {
    return (port & ~1) === PIC_MASTER || (port & ~1) === PIC_SLAVE || (port & ~1) === PIC_ELCR;
  }

  #readPort8(port: number): number {
    if (this.#isPit(port)) return this.#pit.readPort(port);
    return this.#isPic(port) ? this.#pic.readPort(port) : 0xff;
  }

  #writePort8(port: number, value: number): void {
    if (this.#isPic(port)) this.#pic.writePort(port, value);
    else if (this.#isPit(port)) {
      this.#pit.writePort(port, value);
      this.#options.attention(0);
    }
  }

  /** Whether an access of the vCPU to the page (paddr / 4096) comes here. */
  ownsPage(vcpu: number, page: number): boolean {
    return page === IOAPIC_PAGE || page === this.lapic(vcpu).mmioPage;
  }

  /** Whose registers lie in a page that `ownsPage`. */
  nameOfPage(vcpu: number, page: number): string {
    return page === this.lapic(vcpu).mmioPage ? 'lapic' : 'ioapic';
  }

  /** `paddr` lies in a page that `ownsPage`. A local APIC on the I/O APIC's page hides it. */
  readMmio(vcpu: number, paddr: number, size: number): number {
    const lapic = this.lapic(vcpu);
    const offset = paddr % PAGE_BYTES;
    if (Math.floor(paddr / PAGE_BYTES) === lapic.mmioPage) return lapic.readMmio(offset, size);
    return this.#ioapic.readMmio(offset, size);
  }

  writeMmio(vcpu: number, paddr: number, size: number, value: number): void {
    const lapic = this.lapic(vcpu);
    const offset = paddr % PAGE_BYTES;
    if (Math.floor(paddr / PAGE_BYTES) === lapic.mmioPage) lapic.writeMmio(offset, size, value);
    else this.#ioapic.writeMmio(offset, size, value);
  }

  /** Undefined for #GP. IA32_APIC_BASE, IA32_TSC_DEADLINE and 0x800 to 0x8ff. */
  readMsr(vcpu: number, msr: number): bigint | undefined {
    return this.lapic(vcpu).readMsr(msr);
  }

  /** False for #GP. */
  writeMsr(vcpu: number, msr: number, value: bigint): boolean {
    return this.lapic(vcpu).writeMsr(msr, value);
  }
}
