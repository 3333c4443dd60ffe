import type { VcpuExit } from '#accel/accel.ts';
import type { MemoryGate } from '#hw/memory-gate.ts';

/** What follows a guest when a trace of it is wanted: S_TRACE in ir/state-system.ts says of what. */
export interface VcpuTrace {
  /** The instruction of `block` is about to run; with TRACE_INSN blocks have one each. */
  begin(block: number): void;
  /** Whether it did: else it comes again, behind an interrupt. */
  end(ran: boolean): void;
  /** EVENT_…, with the two values that belong to it. */
  event(event: number, a: bigint, b: bigint): void;
}

/** What core/ and the run loop need of the board: called on the vCPU's thread. */
export interface VcpuHost {
  portRead(port: number, size: number): number;
  portWrite(port: number, size: number, value: number): void;
  mmioRead(paddr: number, size: number): number;
  mmioWrite(paddr: number, size: number, value: number): void;
  /** Ticks of the TSC since power-on, whole. */
  tsc(): number;
  random32(): number;
  cpuid(): void;
  /** True when the MSR is the interrupt controller's and the access is legal; the value is in S_SCRATCH. */
  apicMsrRead(msr: number): boolean;
  apicMsrWrite(msr: number): boolean;
  /** The time-stamp counter was set or adjusted. */
  tscMoved(): void;
  unknownMsr(msr: number, write: boolean): void;
  /** CR8 is the task priority. */
  taskPriority(): number;
  setTaskPriority(value: number): void;
  /** An interrupt that EFLAGS.IF alone may hold back. */
  hasInterrupt(): boolean;
  acknowledge(): number;
  takeNmi(): boolean;
  /** The INIT signal has come, and the processor shall begin at the reset vector. */
  takeInit?(): boolean;
  nextDeadlineNs(): number;
  nowNs(): number;
  /** Before the thread sleeps for lack of work. */
  beforeSleep(): void;
  /** The vCPU sleeps with interrupts disabled: only an NMI, INIT or a reset wakes it. */
  haltedForGood?(): void;
  /** Devices on another thread have been told of something, and have not looked at it yet. */
  awaitsDevices?(): boolean;
  /** Timers that are due, input from other threads. Once a slice. */
  poll(nowNs: number): void;
  /** Why the VM shall end or begin anew, once it shall. */
  ended(): VcpuExit | undefined;
  /** Takes an exception before the guest sees it (debuggers, tests): true ends the run as `stopped`. */
  intercept?(vector: number): boolean;
  /** The instruction at RIP has raised #UD. */
  undefinedInstruction?(): void;
  /** FERR# rises: an x87 exception waits while CR0.NE is clear. */
  numericError?(): void;
  /** Pages written by devices that hold translated code; undefined when that is to be said of all. */
  invalidated(): readonly number[] | undefined;
  readonly trace?: VcpuTrace;
  /** Looks at where the guest is, between two slices. */
  sample?(nowNs: number, halted: boolean): void;
  /** Between lockstep mode and devices that other threads run. */
  readonly gate?: MemoryGate;
}
