// Keyboard controller with an AT keyboard on which nobody types, and no mouse. Sources: IBM PS/2 Hardware Interface
// Technical Reference (1991), "Keyboard and Auxiliary Device Controller"; Intel 8242 data sheet.
import type { Device, DeviceState, IrqLine, PortDevice } from '#hw/device.ts';
import { type StateSize, StateWords } from '#hw/state.ts';

const STATUS_OUTPUT_FULL = 1 << 0;
const STATUS_SYSTEM = 1 << 2;
const STATUS_COMMAND = 1 << 3; // the last write went to 0x64
const STATUS_UNLOCKED = 1 << 4;

const MODE_KEYBOARD_IRQ = 1 << 0;
const MODE_SYSTEM = 1 << 2;
const MODE_KEYBOARD_OFF = 1 << 4;
const MODE_AUX_OFF = 1 << 5;
const MODE_TRANSLATE = 1 << 6;
/** As firmware leaves it. */
const MODE_RESET = MODE_KEYBOARD_IRQ | MODE_SYSTEM | MODE_AUX_OFF | MODE_TRANSLATE;

// Commands.
const READ_MODE = 0x20;
const WRITE_MODE = 0x60;
const AUX_OFF = 0xa7;
const AUX_ON = 0xa8;
const AUX_TEST = 0xa9;
const SELF_TEST = 0xaa;
const KEYBOARD_TEST = 0xab;
const KEYBOARD_OFF = 0xad;
const KEYBOARD_ON = 0xae;
const READ_INPUT_PORT = 0xc0;
const READ_OUTPUT_PORT = 0xd0;
const WRITE_OUTPUT_PORT = 0xd1;
const WRITE_KEYBOARD_OUTPUT = 0xd2;
const WRITE_AUX_OUTPUT = 0xd3;
const WRITE_AUX = 0xd4;
const A20_OFF = 0xdd;
const A20_ON = 0xdf;
const PULSE_OUTPUT = 0xf0; // to 0xff: low bits that are 0 are pulsed

const SELF_TEST_PASSED = 0x55;
const AUX_TEST_DATA_STUCK_HIGH = 0x04; // nothing is plugged in
const INPUT_PORT_UNLOCKED = 0x80;
const OUTPUT_NOT_RESET = 1 << 0;
const OUTPUT_A20 = 1 << 1;
const OUTPUT_RESET_VALUE = 0xcf;

// Keyboard: commands from the host, answers.
const KEYBOARD_RESET = 0xff;
const KEYBOARD_IDENTIFY = 0xf2;
const KEYBOARD_ECHO = 0xee;
const KEYBOARD_ACK = 0xfa;
const KEYBOARD_PASSED = 0xaa;
const KEYBOARD_RESEND = 0xfe;
const KEYBOARD_ID = 0xab;
/** Second byte of the ID, bare and after translation to scan code set 1. */
const KEYBOARD_ID_BARE = 0x83;
const KEYBOARD_ID_TRANSLATED = 0x41;
/** LEDs, scan code set, typematic rate: a byte follows. */
const KEYBOARD_WITH_BYTE: ReadonlySet<number> = new Set([0xed, 0xf0, 0xf3]);
/** Enable, disable, defaults, and the key types of set 3. */
const KEYBOARD_SIMPLE_FIRST = 0xf4;
const KEYBOARD_SIMPLE_LAST = 0xfa;

const S_MODE = 0;
const S_OUTPUT_PORT = 1;
/** The controller command whose byte is due at port 0x60; 0: it goes to the keyboard. */
const S_AWAITED = 2;
const S_KEYBOARD_AWAITED = 3;
const S_LAST_WAS_COMMAND = 4;
const S_LAST_DATA = 5;
const S_QUEUE_COUNT = 6;
const S_QUEUE = 7;
const QUEUE_BYTES = 16;

export const I8042_STATE: StateSize = { i32: S_QUEUE + QUEUE_BYTES, f64: 0 };

export interface I8042Wires {
  readonly irq: IrqLine;
  readonly reset: () => void;
  readonly setA20: (enabled: boolean) => void;
}

/** Every command is answered at once, so that no driver waits for a timeout. */
export class I8042 implements Device {
  /** Port 0x60. */
  readonly dataPort: PortDevice;
  /** Port 0x64. */
  readonly commandPort: PortDevice;
  readonly #w: StateWords;
  readonly #wires: I8042Wires;

  constructor(state: DeviceState, wires: I8042Wires) {
    this.#w = new StateWords(state, I8042_STATE);
    this.#wires = wires;
    this.dataPort = {
      reset: () => this.reset(),
      readPort: () => this.#pop(),
      writePort: (_offset, _size, value) => this.#write(value & 0xff, false),
    };
    this.commandPort = {
      reset: () => this.reset(),
      readPort: () => this.#status(),
      writePort: (_offset, _size, value) => this.#write(value & 0xff, true),
    };
  }

  reset(): void {
    this.#w.clear(0, I8042_STATE.i32);
    this.#w.set(S_MODE, MODE_RESET);
    this.#w.set(S_OUTPUT_PORT, OUTPUT_RESET_VALUE);
    this.#updateIrq();
  }

  #write(byte: number, isCommand: boolean): void {
    this.#w.setFlag(S_LAST_WAS_COMMAND, isCommand);
    if (isCommand) this.#command(byte);
    else this.#data(byte);
  }

  #status(): number {
    const full = this.#w.get(S_QUEUE_COUNT) > 0 ? STATUS_OUTPUT_FULL : 0;
    const system = this.#w.get(S_MODE) & MODE_SYSTEM ? STATUS_SYSTEM : 0;
    const command = this.#w.flag(S_LAST_WAS_COMMAND) ? STATUS_COMMAND : 0;
    return full | system | command | STATUS_UNLOCKED;
  }

  // ---- Output buffer.

  #push(...bytes: number[]): void {
    for (const byte of bytes) {
      const count = this.#w.get(S_QUEUE_COUNT);
      if (count === QUEUE_BYTES) break;
      this.#w.set(S_QUEUE + count, byte);
      this.#w.set(S_QUEUE_COUNT, count + 1);
    }
    this.#updateIrq();
  }

  #pop(): number {
    const count = this.#w.get(S_QUEUE_COUNT);
    if (count === 0) return this.#w.get(S_LAST_DATA);
    const byte = this.#w.get(S_QUEUE);
    for (let i = 1; i < count; i++) this.#w.set(S_QUEUE + i - 1, this.#w.get(S_QUEUE + i));
    this.#w.set(S_QUEUE_COUNT, count - 1);
    this.#w.set(S_LAST_DATA, byte);
    this.#wires.irq.set(false); // each byte is an edge of its own
    this.#updateIrq();
    return byte;
  }

  #updateIrq(): void {
    const isFull = this.#w.get(S_QUEUE_COUNT) > 0;
    this.#wires.irq.set(isFull && (this.#w.get(S_MODE) & MODE_KEYBOARD_IRQ) !== 0);
  }

  // ---- Controller.

  #command(byte: number): void {
    this.#w.set(S_AWAITED, 0);
    switch (byte) {
      case READ_MODE:
        this.#push(this.#w.get(S_MODE));
        break;
      case SELF_TEST:
        this.#w.set(S_QUEUE_COUNT, 0);
        this.#setMode(this.#w.get(S_MODE) | MODE_SYSTEM);
        this.#push(SELF_TEST_PASSED);
        break;
      case KEYBOARD_TEST:
        this.#push(0);
        break;
      case AUX_TEST:
        this.#push(AUX_TEST_DATA_STUCK_HIGH);
        break;
      case AUX_OFF:
        this.#setMode(this.#w.get(S_MODE) | MODE_AUX_OFF);
        break;
      case AUX_ON:
        this.#setMode(this.#w.get(S_MODE) & ~MODE_AUX_OFF);
        break;
      case KEYBOARD_OFF:
        this.#setMode(this.#w.get(S_MODE) | MODE_KEYBOARD_OFF);
        break;
      case KEYBOARD_ON:
        this.#setMode(this.#w.get(S_MODE) & ~MODE_KEYBOARD_OFF);
        break;
      case READ_INPUT_PORT:
        this.#push(INPUT_PORT_UNLOCKED);
        break;
      case READ_OUTPUT_PORT:
        this.#push(this.#w.get(S_OUTPUT_PORT));
        break;
      case A20_OFF:
      case A20_ON:
        this.#setOutputPort(byte);
        break;
      case WRITE_MODE:
      case WRITE_OUTPUT_PORT:
      case WRITE_KEYBOARD_OUTPUT:
      case WRITE_AUX_OUTPUT:
      case WRITE_AUX:
        this.#w.set(S_AWAITED, byte);
        break;
      default:
        if (byte >= PULSE_OUTPUT && !(byte & OUTPUT_NOT_RESET)) this.#wires.reset();
    }
  }

  #data(byte: number): void {
    const awaited = this.#w.get(S_AWAITED);
    this.#w.set(S_AWAITED, 0);
    switch (awaited) {
      case WRITE_MODE:
        this.#setMode(byte);
        break;
      case WRITE_OUTPUT_PORT:
        this.#setOutputPort(byte);
        break;
      case WRITE_KEYBOARD_OUTPUT:
      case WRITE_AUX_OUTPUT: // without the mark of the mouse, which tells a driver that there is no such port
        this.#push(byte);
        break;
      case WRITE_AUX: // nobody there
        this.#push(KEYBOARD_RESEND);
        break;
      default:
        this.#keyboard(byte);
        break;
    }
  }

  #setMode(mode: number): void {
    this.#w.set(S_MODE, mode);
    this.#updateIrq();
  }

  #setOutputPort(byte: number): void {
    this.#w.set(S_OUTPUT_PORT, byte);
    this.#wires.setA20((byte & OUTPUT_A20) !== 0);
    if (!(byte & OUTPUT_NOT_RESET)) this.#wires.reset();
  }

  // ---- Keyboard.

  #keyboard(byte: number): void {
    // Sending to the keyboard opens its clock line.
    this.#w.set(S_MODE, this.#w.get(S_MODE) & ~MODE_KEYBOARD_OFF);
    if (this.#w.get(S_KEYBOARD_AWAITED) !== 0) {
      const isSetQuery = this.#w.get(S_KEYBOARD_AWAITED) === 0xf0 && byte === 0;
      this.#w.set(S_KEYBOARD_AWAITED, 0);
      if (isSetQuery) this.#push(KEYBOARD_ACK, 2);
      else this.#push(KEYBOARD_ACK);
    } else if (KEYBOARD_WITH_BYTE.has(byte)) {
      this.#w.set(S_KEYBOARD_AWAITED, byte);
      this.#push(KEYBOARD_ACK);
    } else this.#answer(byte);
  }

  #answer(byte: number): void {
    const isTranslated = (this.#w.get(S_MODE) & MODE_TRANSLATE) !== 0;
    if (byte === KEYBOARD_RESET) this.#push(KEYBOARD_ACK, KEYBOARD_PASSED);
    else if (byte === KEYBOARD_ECHO) this.#push(KEYBOARD_ECHO);
    else if (byte === KEYBOARD_IDENTIFY)
      this.#push(
        KEYBOARD_ACK,
        KEYBOARD_ID,
        isTranslated ? KEYBOARD_ID_TRANSLATED : KEYBOARD_ID_BARE,
      );
    else if (byte >= KEYBOARD_SIMPLE_FIRST && byte <= KEYBOARD_SIMPLE_LAST)
      this.#push(KEYBOARD_ACK);
    else this.#push(KEYBOARD_RESEND);
  }
}
