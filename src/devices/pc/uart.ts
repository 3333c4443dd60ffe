import { readBytes, writeBytes } from '#hw/bytes.ts';
import type { DeviceState, IrqLine, PortDevice } from '#hw/device.ts';
import { type StateSize, StateWords } from '#hw/state.ts';
import * as r from './uart-regs.ts';

const S_IER = 0;
const S_FCR = 1;
const S_LCR = 2;
const S_MCR = 3;
const S_MSR = 4;
const S_SCR = 5;
const S_DIVISOR = 6;
const S_OVERRUN = 7;
/** THR became empty, or its interrupt was enabled while it was, and IIR has not told so yet. */
const S_THR_PENDING = 8;
const S_FIFO_HEAD = 9;
const S_FIFO_COUNT = 10;
const S_FIFO = 11;

export const UART_STATE: StateSize = { i32: S_FIFO + r.FIFO_BYTES, f64: 0 };
export const UART_PORTS = 8;

export interface UartWires {
  readonly irq: IrqLine;
  readonly transmit: (byte: number) => void;
  /** The guest has read all that was received: there is room for more. */
  readonly drained: () => void;
}

/** A 16550A whose line is infinitely fast and whose far end is always ready. */
export class Uart implements PortDevice {
  readonly #w: StateWords;
  readonly #wires: UartWires;

  constructor(state: DeviceState, wires: UartWires) {
    this.#w = new StateWords(state, UART_STATE);
    this.#wires = wires;
  }

  reset(): void {
    const scratch = this.#w.get(S_SCR);
    const divisor = this.#w.get(S_DIVISOR);
    this.#w.clear(0, UART_STATE.i32);
    this.#w.set(S_SCR, scratch); // table I: reset touches neither
    this.#w.set(S_DIVISOR, divisor);
    this.#w.set(S_MSR, this.#modemLines());
    this.#updateIrq();
  }

  /** A byte from the far end. False when there is no room: try again after `drained`. */
  receive(byte: number): boolean {
    if (this.#w.get(S_MCR) & r.MCR_LOOP || this.#w.get(S_FIFO_COUNT) >= this.#capacity)
      return false;
    this.#push(byte);
    this.#updateIrq();
    return true;
  }

  readPort(offset: number, size: number): number {
    return readBytes(offset, size, (at) => this.#read(at));
  }

  writePort(offset: number, size: number, value: number): void {
    writeBytes(offset, size, value, (at, byte) => this.#write(at, byte));
  }

  #read(register: number): number {
    switch (register) {
      case r.RBR:
        return this.#hasDlab ? this.#w.get(S_DIVISOR) & 0xff : this.#pop();
      case r.IER:
        return this.#hasDlab ? this.#w.get(S_DIVISOR) >> 8 : this.#w.get(S_IER);
      case r.IIR:
        return this.#readIir();
      case r.LCR:
        return this.#w.get(S_LCR);
      case r.MCR:
        return this.#w.get(S_MCR);
      case r.LSR:
        return this.#readLsr();
      case r.MSR:
        return this.#readMsr();
      case r.SCR:
        return this.#w.get(S_SCR);
      default:
        return 0xff; // beyond the chip
    }
  }

  #write(register: number, byte: number): void {
    switch (register) {
      case r.THR:
        if (this.#hasDlab) this.#w.set(S_DIVISOR, (this.#w.get(S_DIVISOR) & 0xff00) | byte);
        else this.#transmit(byte);
        break;
      case r.IER:
        if (this.#hasDlab) this.#w.set(S_DIVISOR, (this.#w.get(S_DIVISOR) & 0xff) | (byte << 8));
        else this.#writeIer(byte & r.IER_WRITABLE);
        break;
      case r.FCR:
        this.#writeFcr(byte);
        break;
      case r.LCR:
        this.#w.set(S_LCR, byte);
        break;
      case r.MCR:
        this.#w.set(S_MCR, byte & r.MCR_WRITABLE);
        this.#modemChanged();
        break;
      case r.SCR:
        this.#w.set(S_SCR, byte);
        break;
      default: // LSR and MSR: writes are for factory tests
    }
    this.#updateIrq();
  }

  get #hasDlab(): boolean {
    return (this.#w.get(S_LCR) & r.LCR_DLAB) !== 0;
  }

  // ---- Receiver.

  get #hasFifo(): boolean {
    return (this.#w.get(S_FCR) & r.FCR_ENABLE) !== 0;
  }

  get #capacity(): number {
    return this.#hasFifo ? r.FIFO_BYTES : 1;
  }

  #push(byte: number): void {
    const count = this.#w.get(S_FIFO_COUNT);
    if (count >= this.#capacity) {
      this.#w.setFlag(S_OVERRUN, true);
      // With the FIFO the new byte is lost; without, the old one is overwritten.
      if (!this.#hasFifo) this.#w.set(S_FIFO + this.#w.get(S_FIFO_HEAD), byte);
      return;
    }
    this.#w.set(S_FIFO + ((this.#w.get(S_FIFO_HEAD) + count) % r.FIFO_BYTES), byte);
    this.#w.set(S_FIFO_COUNT, count + 1);
  }

  #pop(): number {
    const count = this.#w.get(S_FIFO_COUNT);
    const head = this.#w.get(S_FIFO_HEAD);
    const byte = this.#w.get(S_FIFO + head);
    if (count === 0) return byte; // the last one again
    // The buffer without FIFO keeps its place, so that a second read finds the byte again.
    this.#w.set(S_FIFO_HEAD, this.#hasFifo ? (head + 1) % r.FIFO_BYTES : head);
    this.#w.set(S_FIFO_COUNT, count - 1);
    this.#updateIrq();
    if (count === 1) this.#wires.drained();
    return byte;
  }

  #clearReceiver(): void {
    const hadData = this.#w.get(S_FIFO_COUNT) > 0;
    this.#w.set(S_FIFO_COUNT, 0);
    this.#w.set(S_FIFO_HEAD, 0);
    if (hadData) this.#wires.drained();
  }

  #writeFcr(byte: number): void {
    const isToggled = ((byte ^ this.#w.get(S_FCR)) & r.FCR_ENABLE) !== 0;
    // The other bits take effect only in a write with bit 0 set.
    this.#w.set(
      S_FCR,
      byte & r.FCR_ENABLE ? byte & ((3 << r.FCR_TRIGGER_SHIFT) | r.FCR_ENABLE) : 0,
    );
    if (isToggled || byte & r.FCR_CLEAR_RECEIVER) this.#clearReceiver();
  }

  #readLsr(): number {
    const ready = this.#w.get(S_FIFO_COUNT) > 0 ? r.LSR_DATA_READY : 0;
    const overrun = this.#w.flag(S_OVERRUN) ? r.LSR_OVERRUN : 0;
    this.#w.setFlag(S_OVERRUN, false);
    if (overrun) this.#updateIrq();
    return r.LSR_THR_EMPTY | r.LSR_TRANSMITTER_EMPTY | overrun | ready;
  }

  // ---- Transmitter: a byte is gone as soon as it is written.

  #transmit(byte: number): void {
    if (this.#w.get(S_MCR) & r.MCR_LOOP) this.#push(byte);
    else this.#wires.transmit(byte);
    this.#w.setFlag(S_THR_PENDING, true);
  }

  /** Enabling the interrupt while THR is empty requests it: drivers test for this. */
  #writeIer(value: number): void {
    const isEnabling = (value & ~this.#w.get(S_IER) & r.IER_THR_EMPTY) !== 0;
    this.#w.set(S_IER, value);
    if (isEnabling) this.#w.setFlag(S_THR_PENDING, true);
  }

  // ---- Modem lines.

  #modemLines(): number {
    const mcr = this.#w.get(S_MCR);
    if (!(mcr & r.MCR_LOOP)) return r.MSR_CTS | r.MSR_DSR | r.MSR_DCD;
    return (
      (mcr & r.MCR_RTS ? r.MSR_CTS : 0) |
      (mcr & r.MCR_DTR ? r.MSR_DSR : 0) |
      (mcr & r.MCR_OUT1 ? r.MSR_RI : 0) |
      (mcr & r.MCR_OUT2 ? r.MSR_DCD : 0)
    );
  }

  #modemChanged(): void {
    const before = this.#w.get(S_MSR);
    const lines = this.#modemLines();
    let deltas = ((before ^ lines) & r.MSR_LINES) >> 4;
    if (lines & r.MSR_RI) deltas &= ~r.MSR_DELTA_RI;
    this.#w.set(S_MSR, lines | (before & r.MSR_DELTAS) | deltas);
  }

  #readMsr(): number {
    const value = this.#w.get(S_MSR);
    this.#w.set(S_MSR, value & r.MSR_LINES);
    this.#updateIrq();
    return value;
  }

  // ---- Interrupts, highest first (table IV).

  #interrupt(): number {
    const enabled = this.#w.get(S_IER);
    const count = this.#w.get(S_FIFO_COUNT);
    if (enabled & r.IER_LINE_STATUS && this.#w.flag(S_OVERRUN)) return r.IIR_LINE_STATUS;
    if (enabled & r.IER_DATA && count > 0)
      return this.#isTriggered(count) ? r.IIR_DATA : r.IIR_TIMEOUT;
    if (enabled & r.IER_THR_EMPTY && this.#w.flag(S_THR_PENDING)) return r.IIR_THR_EMPTY;
    if (enabled & r.IER_MODEM_STATUS && this.#w.get(S_MSR) & r.MSR_DELTAS)
      return r.IIR_MODEM_STATUS;
    return r.IIR_NONE;
  }

  /** Below the trigger level the receiver's timeout, four characters long, has passed at once on this line. */
  #isTriggered(count: number): boolean {
    const level = r.RECEIVER_TRIGGERS[this.#w.get(S_FCR) >> r.FCR_TRIGGER_SHIFT] ?? 1;
    return !this.#hasFifo || count >= level;
  }

  #readIir(): number {
    const interrupt = this.#interrupt();
    if (interrupt === r.IIR_THR_EMPTY) {
      this.#w.setFlag(S_THR_PENDING, false);
      this.#updateIrq();
    }
    return interrupt | (this.#hasFifo ? r.IIR_FIFOS : 0);
  }

  /** On a PC, OUT2 gates the interrupt; in loop mode the pin is inactive. */
  #updateIrq(): void {
    const isGateOpen = (this.#w.get(S_MCR) & (r.MCR_OUT2 | r.MCR_LOOP)) === r.MCR_OUT2;
    this.#wires.irq.set(isGateOpen && this.#interrupt() !== r.IIR_NONE);
  }
}
