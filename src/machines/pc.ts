import { DebugExit, E9Port, POST_STATE, PostPort } from '#devices/pc/debug-ports.ts';
import { HPET_STATE, Hpet } from '#devices/pc/hpet.ts';
import { I8042, I8042_STATE } from '#devices/pc/i8042.ts';
import { NUMERIC_ERROR_STATE, NumericError } from '#devices/pc/numeric-error.ts';
import { HOTPLUG_PORTS, HOTPLUG_STATE, PciHotplug } from '#devices/pc/pci-hotplug.ts';
import { GPE_PCI_HOTPLUG, PM_PORTS, PM_STATE, PowerManagement } from '#devices/pc/pm-timer.ts';
import {
  RESET_CONTROL_STATE,
  ResetControl,
  SYSTEM_CONTROL_STATE,
  SystemControl,
} from '#devices/pc/reset.ts';
import { RTC_PORTS, RTC_STATE, Rtc } from '#devices/pc/rtc.ts';
import { UART_PORTS, UART_STATE, Uart } from '#devices/pc/uart.ts';
import { PCI_CONFIG_PORTS, PCI_HOST_STATE, PciHost } from '#devices/pci/config-space.ts';
import { HOST_BRIDGE, ISA_BRIDGE } from '#devices/pci/i440fx.ts';
import { PCI_FUNCTION_STATE, PciFunction } from '#devices/pci/pci-function.ts';
import { MmioBus, PortBus } from '#hw/bus.ts';
import type { Clock, Device, DeviceLog, DeviceState, IrqLine, TimedDevice } from '#hw/device.ts';
import { StateCarver } from '#hw/state.ts';
import { cmosMemory } from './cmos-memory.ts';
import { MmioCards, type PlacedMmio } from './mmio-cards.ts';
import { type CardRegisters, PciCards, type PciSlot } from './pci-cards.ts';

// Interrupts and addresses of the board. Ports and IRQs are those of every PC; PCI interrupts go to GSIs 16-19.
const COM1 = { port: 0x3f8, gsi: 4 };
const COM2 = { port: 0x2f8, gsi: 3 };
const RTC = { port: 0x70, gsi: 8 };
const I8042_DATA_PORT = 0x60;
const I8042_COMMAND_PORT = 0x64;
const KEYBOARD_GSI = 1;
const PM_PORT = 0x600;
const SCI_GSI = 9;
const HOTPLUG_PORT = 0xae00;
const SYSTEM_CONTROL_PORT = 0x92;
const NUMERIC_ERROR = { port: 0xf0, gsi: 13 };
const PCI_PORT = 0xcf8;
const PCI_FIRST_GSI = 16;
const PCI_GSIS = 4;
const ISA_BRIDGE_SLOT = 1;
export const FIRST_CARD_SLOT = 2;
const HPET = { paddr: 0xfed0_0000, bytes: 1024 };
const TIMER_GSI = 2;
const DEBUG_EXIT_PORT = 0xf4;
const E9_PORT = 0xe9;
/** Where SeaBIOS writes its messages, when a read gives what port 0xe9 does. */
const FIRMWARE_DEBUG_PORT = 0x402;
const POST_PORT = 0x80;
const SOFT_OFF_TYPE = 5; // what \_S5 in machines/tables/acpi.ts says

/** What the board is wired to. */
export interface PcWires {
  readonly memoryBytes: number;
  readonly clock: Clock;
  readonly log: DeviceLog;
  readonly line: (gsi: number) => IrqLine;
  /** The PIT is to be cut off from IRQ 0 by the HPET, or joined again. */
  readonly setPitIrqConnected: (connected: boolean) => void;
  readonly setA20: (enabled: boolean) => void;
  /** A character of the first serial port or of port 0xe9. */
  readonly consoleOutput: (byte: number) => void;
  readonly debugOutput: (byte: number) => void;
  /** COM1 has room again. */
  readonly consoleDrained: () => void;
  /** IGNNE# is asserted. */
  readonly ignoreNumericError: () => void;
  readonly powerOff: () => void;
  readonly reset: () => void;
  readonly debugExit: (value: number) => void;
  readonly cards: readonly PciSlot[];
  readonly mmioCards: readonly PlacedMmio[];
  readonly cardRegisters: CardRegisters;
  /** A slot has been switched off, by the guest or by `pullCard`. */
  readonly cardLeft: (slot: number) => void;
  readonly sendMsi: (address: number, data: number) => void;
}

/** The chips on the vCPU's side, at their addresses. All state is in the `DeviceState` given. */
export class PcBoard {
  readonly ports: PortBus;
  readonly mmio: MmioBus;
  readonly cards: PciCards;
  readonly #mmioCards: MmioCards;
  readonly #hotplug: PciHotplug;
  readonly #cardLeft: (slot: number) => void;
  readonly #com1: Uart;
  readonly #numericError: NumericError;
  readonly #devices: Device[] = [];
  readonly #timed: TimedDevice[] = [];

  constructor(state: DeviceState, wires: PcWires) {
    const { line } = wires;
    const carver = new StateCarver(state);
    this.ports = new PortBus(wires.log);
    this.mmio = new MmioBus(wires.log);
    this.#com1 = this.#own(
      new Uart(carver.take(UART_STATE), {
        irq: line(COM1.gsi),
        transmit: wires.consoleOutput,
        drained: wires.consoleDrained,
      }),
    );
    this.ports.map(COM1.port, UART_PORTS, this.#com1, 'com1');
    const com2 = new Uart(carver.take(UART_STATE), {
      irq: line(COM2.gsi),
      transmit: () => {},
      drained: () => {},
    });
    this.ports.map(COM2.port, UART_PORTS, this.#own(com2), 'com2');
    this.#numericError = this.#own(
      new NumericError(carver.take(NUMERIC_ERROR_STATE), {
        irq: line(NUMERIC_ERROR.gsi),
        ignore: wires.ignoreNumericError,
      }),
    );
    this.ports.map(NUMERIC_ERROR.port, 1, this.#numericError, 'numeric-error');
    const pm = this.#timers(carver, wires);
    this.#control(carver, wires);
    this.cards = this.#pci(carver, wires);
    this.#mmioCards = new MmioCards(wires.mmioCards, {
      ...wires,
      mmio: this.mmio,
      registers: wires.cardRegisters,
    });
    this.#cardLeft = wires.cardLeft;
    this.#hotplug = this.#own(
      new PciHotplug(carver.take(HOTPLUG_STATE), {
        notify: () => pm.raiseGpe(GPE_PCI_HOTPLUG),
        eject: (slot) => this.#switchOff(slot, true),
      }),
    );
    this.ports.map(HOTPLUG_PORT, HOTPLUG_PORTS, this.#hotplug, 'pci-hotplug');
    this.ports.map(POST_PORT, 1, this.#own(new PostPort(carver.take(POST_STATE))), 'post');
    this.ports.map(DEBUG_EXIT_PORT, 1, new DebugExit(wires.debugExit), 'debug-exit');
    for (const port of [E9_PORT, FIRMWARE_DEBUG_PORT])
      this.ports.map(port, 1, new E9Port(wires.debugOutput), 'e9');
  }

  #own<T extends Device>(device: T): T {
    this.#devices.push(device);
    return device;
  }

  #timers(carver: StateCarver, wires: PcWires): PowerManagement {
    const { clock, line } = wires;
    const rtc = this.#own(new Rtc(carver.take(RTC_STATE), clock, line(RTC.gsi)));
    this.ports.map(RTC.port, RTC_PORTS, rtc, 'rtc');
    for (const [index, value] of cmosMemory(wires.memoryBytes)) rtc.setCmos(index, value);
    const pm = new PowerManagement(carver.take(PM_STATE), clock, {
      sci: line(SCI_GSI),
      softOffType: SOFT_OFF_TYPE,
      powerOff: wires.powerOff,
    });
    this.ports.map(PM_PORT, PM_PORTS, this.#own(pm), 'acpi-pm');
    const hpet = new Hpet(carver.take(HPET_STATE), clock, {
      route: line,
      irq0: line(TIMER_GSI),
      irq8: line(RTC.gsi),
      legacyChanged: (legacy) => {
        wires.setPitIrqConnected(!legacy);
        rtc.setIrqConnected(!legacy);
      },
    });
    this.mmio.map(HPET.paddr, HPET.bytes, this.#own(hpet), 'hpet');
    this.#timed.push(rtc, pm, hpet);
    return pm;
  }

  #control(carver: StateCarver, wires: PcWires): void {
    const { reset, setA20, line } = wires;
    const i8042 = new I8042(carver.take(I8042_STATE), { irq: line(KEYBOARD_GSI), reset, setA20 });
    this.#devices.push(i8042.dataPort);
    this.ports.map(I8042_DATA_PORT, 1, i8042.dataPort, 'i8042');
    this.ports.map(I8042_COMMAND_PORT, 1, i8042.commandPort, 'i8042');
    const system = new SystemControl(carver.take(SYSTEM_CONTROL_STATE), { reset, setA20 });
    this.ports.map(SYSTEM_CONTROL_PORT, 1, this.#own(system), 'system-control');
  }

  #pci(carver: StateCarver, wires: PcWires): PciCards {
    const resetControl = this.#own(new ResetControl(carver.take(RESET_CONTROL_STATE), wires.reset));
    const host = new PciHost(carver.take(PCI_HOST_STATE), {
      resetControl,
      gsiOf: (slot, pin) => PCI_FIRST_GSI + ((slot + pin - 1) % PCI_GSIS),
      line: wires.line,
    });
    host.add(0, new PciFunction(carver.take(PCI_FUNCTION_STATE), HOST_BRIDGE));
    host.add(ISA_BRIDGE_SLOT, new PciFunction(carver.take(PCI_FUNCTION_STATE), ISA_BRIDGE));
    this.ports.map(PCI_PORT, PCI_CONFIG_PORTS, this.#own(host), 'pci');
    const { ports, mmio } = this;
    const { cards, cardRegisters: registers, sendMsi } = wires;
    return new PciCards(cards, { host, ports, mmio, registers, sendMsi });
  }

  reset(): void {
    for (const device of this.#devices) device.reset();
    this.cards.reset();
  }

  /** Interrupts of cards and devices as they drive them now, a bit a slot. */
  setCardLines(lines: number): void {
    this.cards.setLines(lines);
    this.#mmioCards.setLines(lines);
  }

  /** A card comes while the guest runs, which is told. */
  plugCard(slot: PciSlot): void {
    this.cards.plug(slot);
    this.#hotplug.arrived(slot.slot);
  }

  /** Asks the guest to give a card up. */
  askForCard(slot: number): void {
    this.#hotplug.leave(slot);
  }

  /** Switches a slot off, whatever the guest is doing with it. */
  pullCard(slot: number): void {
    this.#switchOff(slot, false);
  }

  #switchOff(slot: number, byGuest: boolean): void {
    if (!this.cards.unplug(slot)) return;
    this.#hotplug.left(slot, byGuest);
    this.#cardLeft(slot);
  }

  /** A byte from the console; false when COM1 has no room. */
  consoleInput(byte: number): boolean {
    return this.#com1.receive(byte);
  }

  /** The processor asserts FERR#. */
  numericError(): void {
    this.#numericError.raise();
  }

  nextDeadlineNs(): number {
    let next = Number.POSITIVE_INFINITY;
    for (const device of this.#timed) next = Math.min(next, device.nextDeadlineNs());
    return next;
  }

  advance(nowNs: number): void {
    for (const device of this.#timed) if (device.nextDeadlineNs() <= nowNs) device.advance(nowNs);
  }
}
