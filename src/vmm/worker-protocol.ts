import type { VcpuExit, VcpuState } from '#accel/accel.ts';
import type { VmStats } from '#control/vm.ts';
import type { HandlerMap } from '#cpu/handlers.ts';
import type { MemoryLayout } from '#cpu/layout.ts';

/** What the thread of a vCPU starts with. */
export interface WorkerStart {
  readonly memory: WebAssembly.Memory;
  readonly layout: MemoryLayout;
  readonly core: WebAssembly.Module;
  readonly interpreter: WebAssembly.Module;
  readonly handlers: HandlerMap;
  readonly cpuModel: string;
  readonly ramBytes: number;
  readonly state: Partial<VcpuState>;
  /** Milliseconds since 1970 on the host's monotonic clock's zero: all threads tell the same time. */
  readonly startedAtMs: number;
}

export type FromWorker =
  | { readonly type: 'output'; readonly bytes: Uint8Array }
  | { readonly type: 'log'; readonly text: string }
  | {
      readonly type: 'exit';
      readonly exit: VcpuExit;
      readonly stats: VmStats;
      readonly state: VcpuState;
    };
