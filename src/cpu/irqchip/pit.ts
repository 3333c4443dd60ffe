// The PC's interval timer with the speaker port. Sources: Intel 8254 data sheet (order 231164); port 0x61: Intel
// 82371SB (PIIX3) data sheet, section 2.5.4.
import type { Clock, DeviceState, IrqLine, TimedDevice } from '#hw/device.ts';
import { StateCarver, type StateSize, StateWords } from '#hw/state.ts';
import { CHANNEL_STATE, PitChannel } from './pit-channel.ts';

export const PIT_BASE = 0x40;
export const PIT_SPEAKER = 0x61;

const CONTROL = 3;
const READ_BACK = 3; // in place of a channel number
const READ_BACK_NO_COUNT = 1 << 5;
const READ_BACK_NO_STATUS = 1 << 4;

const SPEAKER_GATE2 = 1 << 0;
const SPEAKER_WRITABLE = 0x0f;
const SPEAKER_REFRESH = 1 << 4;
const SPEAKER_OUT2 = 1 << 5;
/** The refresh bit toggles with each request of channel 1, as programmed on every PC. */
const REFRESH_NS = 15_085;

const SPEAKER = 0;
const IRQ_DISCONNECTED = 1;
const OWN_STATE: StateSize = { i32: 2, f64: 0 };

export const PIT_STATE: StateSize = {
  i32: OWN_STATE.i32 + 3 * CHANNEL_STATE.i32,
  f64: 3 * CHANNEL_STATE.f64,
};

export class Pit implements TimedDevice {
  readonly #w: StateWords;
  readonly #channels: readonly [PitChannel, PitChannel, PitChannel];
  readonly #clock: Clock;
  readonly #irq: IrqLine;

  constructor(state: DeviceState, clock: Clock, irq: IrqLine) {
    const carver = new StateCarver(state);
    this.#w = new StateWords(carver.take(OWN_STATE), OWN_STATE);
    this.#channels = [
      new PitChannel(carver.take(CHANNEL_STATE)),
      new PitChannel(carver.take(CHANNEL_STATE)),
      new PitChannel(carver.take(CHANNEL_STATE)),
    ];
    this.#clock = clock;
    this.#irq = irq;
  }

  reset(): void {
    this.#w.clear(0, OWN_STATE.i32);
    const [first, second, third] = this.#channels;
    first.reset(true);
    second.reset(true);
    third.reset(false);
  }

  /** An HPET in legacy mode takes channel 0's place on IRQ 0. */
  setIrqConnected(connected: boolean): void {
    this.#w.setFlag(IRQ_DISCONNECTED, !connected);
  }

  /** `port` is the I/O address: 0x40 to 0x43, or 0x61. */
  readPort(port: number): number {
    const nowNs = this.#clock.nowNs();
    if (port === PIT_SPEAKER) return this.#readSpeaker(nowNs);
    // The control register cannot be read.
    return this.#channels[port - PIT_BASE]?.read(nowNs) ?? 0xff;
  }

  writePort(port: number, value: number): void {
    const nowNs = this.#clock.nowNs();
    if (port === PIT_SPEAKER) this.#writeSpeaker(value, nowNs);
    else if (port === PIT_BASE + CONTROL) this.#writeControl(value & 0xff, nowNs);
    else this.#channels[port - PIT_BASE]?.write(value & 0xff, nowNs);
  }

  #writeControl(word: number, nowNs: number): void {
    if (word >> 6 !== READ_BACK) {
      this.#channels[word >> 6]?.control(word & 0x3f, nowNs);
      return;
    }
    for (const [index, channel] of this.#channels.entries()) {
      if (!(word & (2 << index))) continue;
      if (!(word & READ_BACK_NO_COUNT)) channel.latchCount(nowNs);
      if (!(word & READ_BACK_NO_STATUS)) channel.latchStatus(nowNs);
    }
  }

  #readSpeaker(nowNs: number): number {
    const refresh = Math.floor(nowNs / REFRESH_NS) % 2 === 1 ? SPEAKER_REFRESH : 0;
    const out2 = this.#channels[2].out(nowNs) ? SPEAKER_OUT2 : 0;
    return this.#w.get(SPEAKER) | refresh | out2;
  }

  #writeSpeaker(value: number, nowNs: number): void {
    this.#w.set(SPEAKER, value & SPEAKER_WRITABLE);
    this.#channels[2].setGate((value & SPEAKER_GATE2) !== 0, nowNs);
  }

  nextDeadlineNs(): number {
    return this.#w.flag(IRQ_DISCONNECTED)
      ? Number.POSITIVE_INFINITY
      : this.#channels[0].nextRiseNs();
  }

  /**
   * A rise of OUT is a pulse on the line, so that an HPET that takes over finds it low. Ticks that were missed come as
   * one: the controllers hold no more than one edge anyway.
   */
  advance(nowNs: number): void {
    if (!this.#channels[0].takeRise(nowNs) || this.#w.flag(IRQ_DISCONNECTED)) return;
    this.#irq.set(true);
    this.#irq.set(false);
  }
}
