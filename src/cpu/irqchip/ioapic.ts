// I/O APIC. Source: Intel 82093AA data sheet (order 290566); version 0x20 and its EOI register: Intel ICH9 data sheet,
// section 13.5.
import type { DeviceState } from '#hw/device.ts';
import { type StateSize, StateWords } from '#hw/state.ts';
import { type ApicMessage, DELIVER_LOWEST, dest8 } from './message.ts';

export const IOAPIC_PINS = 24;

// Offsets of the memory-mapped window.
const IOREGSEL = 0x00;
const IOWIN = 0x10;
const EOI = 0x40;

// Register numbers behind the window.
const REG_ID = 0;
const REG_VERSION = 1;
const REG_ARBITRATION = 2;
const REG_REDIRECTION = 0x10;

const VERSION = 0x20 | ((IOAPIC_PINS - 1) << 16);
const ID_MASK = 0x0f00_0000;

// Redirection entry, low half.
const REDIR_VECTOR = 0xff;
const REDIR_MODE_SHIFT = 8;
const REDIR_LOGICAL = 1 << 11;
const REDIR_REMOTE_IRR = 1 << 14;
const REDIR_LEVEL = 1 << 15;
const REDIR_MASKED = 1 << 16;
/** Vector, mode, destination mode, polarity, trigger, mask. Bit 12, delivery status, is always idle here. */
const REDIR_WRITABLE = 0x1_afff;
const REDIR_HIGH_WRITABLE = 0xff00_0000; // the destination

const SELECT = 0;
const ID = 1;
const LINES = 2;
const LOW = 3;
const HIGH = LOW + IOAPIC_PINS;

export const IOAPIC_STATE: StateSize = { i32: HIGH + IOAPIC_PINS, f64: 0 };

/**
 * Inputs are "asserted" or not. The polarity bit is kept for the guest and changes nothing: which voltage asserts a line
 * is between the guest and the board's firmware tables, and there is no wire here.
 */
export class IoApic {
  readonly #w: StateWords;
  readonly #deliver: (message: ApicMessage) => boolean;

  /** `deliver` returns whether some local APIC took the message. */
  constructor(state: DeviceState, deliver: (message: ApicMessage) => boolean) {
    this.#w = new StateWords(state, IOAPIC_STATE);
    this.#deliver = deliver;
  }

  reset(): void {
    const lines = this.#w.get(LINES);
    this.#w.clear(0, IOAPIC_STATE.i32);
    this.#w.set(LINES, lines);
    for (let pin = 0; pin < IOAPIC_PINS; pin++) this.#w.set(LOW + pin, REDIR_MASKED);
  }

  setInput(pin: number, asserted: boolean): void {
    const bit = 1 << pin;
    const lines = this.#w.get(LINES);
    const was = (lines & bit) !== 0;
    if (was === asserted) return;
    this.#w.set(LINES, asserted ? lines | bit : lines & ~bit);
    if (asserted) this.#service(pin);
  }

  /** A local APIC, or the EOI register, ended `vector`: a level input that is still asserted interrupts again. */
  eoi(vector: number): void {
    for (let pin = 0; pin < IOAPIC_PINS; pin++) {
      const low = this.#w.get(LOW + pin);
      if (!(low & REDIR_REMOTE_IRR) || (low & REDIR_VECTOR) !== vector) continue;
      this.#w.set(LOW + pin, low & ~REDIR_REMOTE_IRR);
      this.#serviceLevel(pin);
    }
  }

  readMmio(offset: number, _size: number): number {
    if (offset === IOREGSEL) return this.#w.get(SELECT);
    return offset === IOWIN ? this.#readRegister(this.#w.get(SELECT)) : 0;
  }

  writeMmio(offset: number, _size: number, value: number): void {
    if (offset === IOREGSEL) this.#w.set(SELECT, value & 0xff);
    else if (offset === IOWIN) this.#writeRegister(this.#w.get(SELECT), value);
    else if (offset === EOI) this.eoi(value & 0xff);
  }

  #readRegister(register: number): number {
    switch (register) {
      case REG_ID:
      case REG_ARBITRATION:
        return this.#w.get(ID);
      case REG_VERSION:
        return VERSION;
      default: {
        const pin = (register - REG_REDIRECTION) >> 1;
        if (pin < 0 || pin >= IOAPIC_PINS) return 0;
        return this.#w.get((register & 1 ? HIGH : LOW) + pin);
      }
    }
  }

  #writeRegister(register: number, value: number): void {
    if (register === REG_ID) this.#w.set(ID, value & ID_MASK);
    const pin = (register - REG_REDIRECTION) >> 1;
    if (pin < 0 || pin >= IOAPIC_PINS) return;
    if (register & 1) this.#w.set(HIGH + pin, value & REDIR_HIGH_WRITABLE);
    else this.#writeLow(pin, value);
  }

  #writeLow(pin: number, value: number): void {
    let low = (value & REDIR_WRITABLE) | (this.#w.get(LOW + pin) & REDIR_REMOTE_IRR);
    // Making an entry edge-triggered for a moment is how drivers end an interrupt by hand.
    if (!(low & REDIR_LEVEL)) low &= ~REDIR_REMOTE_IRR;
    this.#w.set(LOW + pin, low);
    this.#serviceLevel(pin);
  }

  #serviceLevel(pin: number): void {
    const isAsserted = (this.#w.get(LINES) & (1 << pin)) !== 0;
    if (isAsserted && this.#w.get(LOW + pin) & REDIR_LEVEL) this.#service(pin);
  }

  /** The input is asserted and, if it acts on edges, has just become so. An edge while masked is lost (3.2.4, bit 16). */
  #service(pin: number): void {
    const low = this.#w.get(LOW + pin);
    if (low & (REDIR_MASKED | REDIR_REMOTE_IRR)) return;
    const mode = (low >> REDIR_MODE_SHIFT) & 7;
    // Only fixed and lowest-priority interrupts are ended by an EOI, so the others act as edges.
    const isLevel = (low & REDIR_LEVEL) !== 0 && mode <= DELIVER_LOWEST;
    const taken = this.#deliver({
      dest: dest8(this.#w.get(HIGH + pin) >>> 24),
      isLogical: (low & REDIR_LOGICAL) !== 0,
      mode,
      vector: low & REDIR_VECTOR,
      isLevel,
    });
    if (isLevel && taken) this.#w.set(LOW + pin, low | REDIR_REMOTE_IRR);
  }
}
