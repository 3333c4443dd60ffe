// Two cascaded interrupt controllers. Sources: Intel 8259A data sheet (order 231468); ELCR: Intel 82371SB (PIIX3)
// data sheet, section 2.5.12.
import type { DeviceState } from '#hw/device.ts';
import { StateCarver, type StateSize, StateWords } from '#hw/state.ts';

export const PIC_MASTER = 0x20;
export const PIC_SLAVE = 0xa0;
export const PIC_ELCR = 0x4d0;

const CASCADE_INPUT = 2;
const SPURIOUS_INPUT = 7;

const ICW1 = 1 << 4;
const ICW1_NEEDS_ICW4 = 1 << 0;
const ICW1_SINGLE = 1 << 1;
const ICW1_LEVEL = 1 << 3;
const ICW4_AEOI = 1 << 1;
const ICW4_SFNM = 1 << 4;
const OCW3 = 1 << 3;
const OCW3_READ_ISR = 1 << 0;
const OCW3_READ_SELECT = 1 << 1;
const OCW3_POLL = 1 << 2;
const OCW3_SPECIAL_MASK = 1 << 5;
const OCW3_SPECIAL_MASK_SELECT = 1 << 6;
const POLL_PENDING = 1 << 7;

// OCW2 bits 7:5
const OCW2_AEOI_ROTATE_CLEAR = 0;
const OCW2_EOI = 1;
const OCW2_EOI_SPECIFIC = 3;
const OCW2_AEOI_ROTATE_SET = 4;
const OCW2_EOI_ROTATE = 5;
const OCW2_SET_PRIORITY = 6;
const OCW2_EOI_SPECIFIC_ROTATE = 7;

const LINES = 0;
const IRR = 1;
const IMR = 2;
const ISR = 3;
const ELCR = 4;
const LEVEL_MODE = 5; // ICW1's LTIM: all inputs
const VECTOR_BASE = 6;
/** The input of highest priority. */
const TOP_INPUT = 7;
/** Which ICW the data port takes next; 0: none, it is the IMR. */
const NEXT_ICW = 8;
const NEEDS_ICW4 = 9;
const SINGLE = 10;
const AEOI = 11;
const ROTATE_ON_AEOI = 12;
const SFNM = 13;
const SPECIAL_MASK = 14;
const READ_ISR = 15;
const POLL = 16;
const CHIP_STATE: StateSize = { i32: 17, f64: 0 };

export const PIC_STATE: StateSize = { i32: 2 * CHIP_STATE.i32, f64: 0 };

class Chip {
  readonly #w: StateWords;
  readonly #isMaster: boolean;
  readonly #elcrMask: number;

  constructor(state: DeviceState, isMaster: boolean, elcrMask: number) {
    this.#w = new StateWords(state, CHIP_STATE);
    this.#isMaster = isMaster;
    this.#elcrMask = elcrMask;
  }

  reset(): void {
    const lines = this.#w.get(LINES);
    this.#w.clear(0, CHIP_STATE.i32);
    this.#w.set(LINES, lines);
    // The data sheet leaves the state before ICW1 open; nothing may come through with a vector nobody chose.
    this.#w.set(IMR, 0xff);
  }

  get #levelInputs(): number {
    // The slave's output is a level: it follows what the slave has pending.
    const cascade = this.#isMaster ? 1 << CASCADE_INPUT : 0;
    return this.#w.flag(LEVEL_MODE) ? 0xff : this.#w.get(ELCR) | cascade;
  }

  setInput(input: number, high: boolean): void {
    const bit = 1 << input;
    const lines = this.#w.get(LINES);
    const wasHigh = (lines & bit) !== 0;
    this.#w.set(LINES, high ? lines | bit : lines & ~bit);
    const irr = this.#w.get(IRR);
    if (this.#levelInputs & bit) this.#w.set(IRR, high ? irr | bit : irr & ~bit);
    else if (high && !wasHigh) this.#w.set(IRR, irr | bit);
  }

  /** Places below the top priority of the first input in `inputs`; 8 when there is none. */
  #rank(inputs: number): number {
    const top = this.#w.get(TOP_INPUT);
    for (let rank = 0; rank < 8; rank++) if (inputs & (1 << ((rank + top) & 7))) return rank;
    return 8;
  }

  #inputAt(rank: number): number {
    return (rank + this.#w.get(TOP_INPUT)) & 7;
  }

  /** The input whose request reaches INT, or -1. */
  pending(): number {
    const imr = this.#w.get(IMR);
    const rank = this.#rank(this.#w.get(IRR) & ~imr);
    if (rank === 8) return -1;
    let blocking = this.#w.get(ISR);
    if (this.#w.flag(SPECIAL_MASK)) blocking &= ~imr;
    // Special fully nested mode: a slave in service does not lock out its own inputs of higher priority.
    if (this.#w.flag(SFNM) && this.#isMaster) blocking &= ~(1 << CASCADE_INPUT);
    return rank < this.#rank(blocking) ? this.#inputAt(rank) : -1;
  }

  /** What the INTA cycle does to the chip. */
  accept(input: number): void {
    const bit = 1 << input;
    if (!(this.#levelInputs & bit)) this.#w.set(IRR, this.#w.get(IRR) & ~bit);
    if (!this.#w.flag(AEOI)) this.#w.set(ISR, this.#w.get(ISR) | bit);
    else if (this.#w.flag(ROTATE_ON_AEOI)) this.#w.set(TOP_INPUT, (input + 1) & 7);
  }

  vector(input: number): number {
    return this.#w.get(VECTOR_BASE) | input;
  }

  readElcr(): number {
    return this.#w.get(ELCR);
  }

  writeElcr(value: number): void {
    this.#w.set(ELCR, value & this.#elcrMask);
    const level = this.#levelInputs;
    this.#w.set(IRR, (this.#w.get(IRR) & ~level) | (this.#w.get(LINES) & level));
  }

  read(isData: boolean): number {
    if (this.#w.flag(POLL)) return this.#poll();
    if (isData) return this.#w.get(IMR);
    return this.#w.get(this.#w.flag(READ_ISR) ? ISR : IRR);
  }

  /** The read after a poll command stands for INTA. */
  #poll(): number {
    this.#w.setFlag(POLL, false);
    const input = this.pending();
    if (input < 0) return 0;
    this.accept(input);
    return POLL_PENDING | input;
  }

  writeCommand(value: number): void {
    if (value & ICW1) this.#initialize(value);
    else if (value & OCW3) this.#operate(value);
    else this.#endOfInterrupt(value >> 5, value & 7);
  }

  #initialize(icw1: number): void {
    const lines = this.#w.get(LINES);
    const elcr = this.#w.get(ELCR);
    this.#w.clear(0, CHIP_STATE.i32);
    this.#w.set(LINES, lines);
    this.#w.set(ELCR, elcr);
    this.#w.setFlag(LEVEL_MODE, (icw1 & ICW1_LEVEL) !== 0);
    this.#w.setFlag(NEEDS_ICW4, (icw1 & ICW1_NEEDS_ICW4) !== 0);
    this.#w.setFlag(SINGLE, (icw1 & ICW1_SINGLE) !== 0);
    this.#w.set(NEXT_ICW, 2);
    // Edges seen so far are forgotten; an input must fall and rise again.
    this.#w.set(IRR, lines & this.#levelInputs);
  }

  #operate(ocw3: number): void {
    if (ocw3 & OCW3_POLL) this.#w.setFlag(POLL, true);
    if (ocw3 & OCW3_READ_SELECT) this.#w.setFlag(READ_ISR, (ocw3 & OCW3_READ_ISR) !== 0);
    if (ocw3 & OCW3_SPECIAL_MASK_SELECT)
      this.#w.setFlag(SPECIAL_MASK, (ocw3 & OCW3_SPECIAL_MASK) !== 0);
  }

  #endOfInterrupt(command: number, input: number): void {
    switch (command) {
      case OCW2_AEOI_ROTATE_CLEAR:
      case OCW2_AEOI_ROTATE_SET:
        this.#w.setFlag(ROTATE_ON_AEOI, command === OCW2_AEOI_ROTATE_SET);
        break;
      case OCW2_EOI:
      case OCW2_EOI_ROTATE: {
        // In special mask mode a masked level is not ended by a non-specific EOI.
        const hidden = this.#w.flag(SPECIAL_MASK) ? this.#w.get(IMR) : 0;
        const rank = this.#rank(this.#w.get(ISR) & ~hidden);
        if (rank < 8) this.#end(this.#inputAt(rank), command === OCW2_EOI_ROTATE);
        break;
      }
      case OCW2_EOI_SPECIFIC:
      case OCW2_EOI_SPECIFIC_ROTATE:
        this.#end(input, command === OCW2_EOI_SPECIFIC_ROTATE);
        break;
      case OCW2_SET_PRIORITY:
        this.#w.set(TOP_INPUT, (input + 1) & 7);
        break;
      default: // 2 is "no operation"
    }
  }

  #end(input: number, rotate: boolean): void {
    this.#w.set(ISR, this.#w.get(ISR) & ~(1 << input));
    if (rotate) this.#w.set(TOP_INPUT, (input + 1) & 7);
  }

  writeData(value: number): void {
    switch (this.#w.get(NEXT_ICW)) {
      case 2:
        this.#w.set(VECTOR_BASE, value & 0xf8);
        this.#w.set(NEXT_ICW, this.#w.flag(SINGLE) ? this.#icw4OrNone() : 3);
        break;
      case 3: // how the two are joined is wired on this board
        this.#w.set(NEXT_ICW, this.#icw4OrNone());
        break;
      case 4:
        this.#w.setFlag(AEOI, (value & ICW4_AEOI) !== 0);
        this.#w.setFlag(SFNM, (value & ICW4_SFNM) !== 0);
        this.#w.set(NEXT_ICW, 0);
        break;
      default:
        this.#w.set(IMR, value);
    }
  }

  #icw4OrNone(): number {
    return this.#w.flag(NEEDS_ICW4) ? 4 : 0;
  }
}

/** The PC's pair: IRQ 0-7 on the master, 8-15 on the slave, whose output is the master's input 2. */
export class Pic {
  readonly #master: Chip;
  readonly #slave: Chip;
  readonly #setIntr: (high: boolean) => void;

  /** `setIntr` hears the level of the INTR pin after each change that may have moved it. */
  constructor(state: DeviceState, setIntr: (high: boolean) => void) {
    const carver = new StateCarver(state);
    // IRQ 0, 1, 2, 8 and 13 are edge-triggered for ever.
    this.#master = new Chip(carver.take(CHIP_STATE), true, 0xf8);
    this.#slave = new Chip(carver.take(CHIP_STATE), false, 0xde);
    this.#setIntr = setIntr;
  }

  reset(): void {
    this.#master.reset();
    this.#slave.reset();
    this.#update();
  }

  /** Level of the INTR pin. */
  get intr(): boolean {
    return this.#master.pending() >= 0;
  }

  setInput(irq: number, high: boolean): void {
    if (irq >= 8) this.#slave.setInput(irq & 7, high);
    else if (irq !== CASCADE_INPUT) this.#master.setInput(irq, high);
    this.#update();
  }

  /** The CPU's INTA cycle: the vector. A request that went away in between gives the spurious vector, input 7. */
  acknowledge(): number {
    const input = this.#master.pending();
    if (input < 0) return this.#master.vector(SPURIOUS_INPUT);
    this.#master.accept(input);
    let vector = this.#master.vector(input);
    if (input === CASCADE_INPUT) {
      const slaveInput = this.#slave.pending();
      if (slaveInput >= 0) this.#slave.accept(slaveInput);
      vector = this.#slave.vector(slaveInput >= 0 ? slaveInput : SPURIOUS_INPUT);
    }
    this.#update();
    return vector;
  }

  /** `port` is the I/O address: 0x20, 0x21, 0xa0, 0xa1, 0x4d0 or 0x4d1. */
  readPort(port: number): number {
    if (port >= PIC_ELCR) return this.#chip(port === PIC_ELCR).readElcr();
    const value = this.#chip(port < PIC_SLAVE).read((port & 1) !== 0);
    this.#update(); // polling acknowledges
    return value;
  }

  writePort(port: number, value: number): void {
    if (port >= PIC_ELCR) this.#chip(port === PIC_ELCR).writeElcr(value & 0xff);
    else if (port & 1) this.#chip(port < PIC_SLAVE).writeData(value & 0xff);
    else this.#chip(port < PIC_SLAVE).writeCommand(value & 0xff);
    this.#update();
  }

  #chip(isMaster: boolean): Chip {
    return isMaster ? this.#master : this.#slave;
  }

  #update(): void {
    this.#master.setInput(CASCADE_INPUT, this.#slave.pending() >= 0);
    this.#setIntr(this.intr);
  }
}
