/**
 * What a board (machines/) and the chips it carries (devices/) agree on.
 *
 * Threads: a device either lives on the device thread, or on the vCPU's side. One on the vCPU's side keeps all that
 * changes in a `DeviceState` over shared memory and is constructed once on each thread over the same state; its methods
 * run under the machine's lock, so they need none of their own. A saved state of such a device is a copy of its bytes.
 */
export interface Device {
  /** Back to the state after RESET#. */
  reset(): void;
}

/** Registers reached by IN/OUT. `offset` counts bytes from the base the machine chose; `size` is 1, 2 or 4. */
export interface PortDevice extends Device {
  /** Unsigned, below 2^(8*size). */
  readPort(offset: number, size: number): number;
  writePort(offset: number, size: number, value: number): void;
}

/** Registers reached by memory accesses. `size` is 1, 2 or 4; the bus splits accesses of 8 bytes, low half first. */
export interface MmioDevice extends Device {
  readMmio(offset: number, size: number): number;
  writeMmio(offset: number, size: number, value: number): void;
}

/** A device that does something by itself when time passes. */
export interface TimedDevice {
  /** When `advance` must be called next, in nanoseconds of the machine's clock; Infinity when nothing is due. */
  nextDeadlineNs(): number;
  /** Does all that was due at or before `nowNs`. */
  advance(nowNs: number): void;
}

/** An input of an interrupt controller. Level as the chip drives it; the controller knows whether it acts on edges. */
export interface IrqLine {
  set(high: boolean): void;
}

/** The machine's time: nanoseconds since power-on, monotonic, the same on every thread. */
export interface Clock {
  nowNs(): number;
  /** Wall-clock time in milliseconds since 1970, for the RTC. */
  wallMs(): number;
}

/** Where a device says that the guest did what no driver should. Reported once for each distinct text. */
export interface DeviceLog {
  guestBug(text: string): void;
}

/** Storage for the state of one device on the vCPU's side: zeroed at power-on, possibly shared between threads. */
export interface DeviceState {
  readonly i32: Int32Array;
  /** Times and other values beyond 32 bits. */
  readonly f64: Float64Array;
}
