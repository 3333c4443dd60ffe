import type { MessagePort } from 'node:worker_threads';
import type { VcpuExit, VcpuState } from '#accel/accel.ts';
import type { TraceKind, VmStats } from '#control/vm.ts';
import type { HandlerMap } from '#cpu/handlers.ts';
import type { MemoryLayout } from '#cpu/layout.ts';
import type { RegionRequest } from '#cpu/region-compiler.ts';
import type { PlacedMmio } from '#machines/mmio-cards.ts';
import type { PlacedCard } from './device-link.ts';
import type { EngineCache } from './engine-cache.ts';
import type { Samples } from './guest-sampler.ts';
import type { SymbolFiles } from './guest-symbols.ts';

/** What the thread of a vCPU starts with. */
export interface WorkerStart {
  readonly memory: WebAssembly.Memory;
  readonly layout: MemoryLayout;
  readonly core: WebAssembly.Module;
  readonly interpreter: WebAssembly.Module;
  readonly handlers: HandlerMap;
  readonly cpuModel: string;
  /** To the thread that translates; without it all is interpreted. */
  readonly translator: MessagePort | undefined;
  readonly ramBytes: number;
  readonly state: Partial<VcpuState>;
  /** Nanoseconds of the host's monotonic clock, which is the same in all threads. */
  readonly startedAt: bigint;
  readonly trace?: TraceStart;
  /** What to sample at a fixed period. */
  readonly sampling?: 'stacks' | 'functions';
  /** The file of code that earlier runs have translated, which this one adds to. */
  readonly translationCache?: string;
  readonly cards: readonly (PlacedCard | PlacedMmio)[];
  /** Slot events come by it, looked for when the device link counts one. */
  readonly slotEvents: MessagePort;
  readonly engineCache?: EngineCache;
  readonly assignCards: boolean;
  readonly verify: boolean;
  /** Seed of what happens to the guest at random. */
  readonly disturb?: number;
  /** All code is translated, on the vCPU's thread. */
  readonly translateAtOnce: boolean;
}

export interface TraceStart {
  readonly kinds: readonly TraceKind[];
  /** An open file, and what messages call it. */
  readonly fd: number;
  readonly file: string;
  readonly symbols: SymbolFiles;
}

export type FromWorker =
  | { readonly type: 'output'; readonly bytes: Uint8Array }
  | { readonly type: 'log'; readonly text: string }
  /** What the user should know at once. */
  | { readonly type: 'warning'; readonly text: string }
  /** The device thread's link holds accesses. */
  | { readonly type: 'devices' }
  /** The host fails in something that the user asked for. */
  | { readonly type: 'failed'; readonly field: string; readonly message: string }
  | {
      readonly type: 'exit';
      readonly exit: VcpuExit;
      readonly stats: VmStats;
      readonly samples?: Samples;
      readonly state: VcpuState;
    };

/** What the thread that translates starts with. */
export interface TranslatorStart {
  readonly memory: WebAssembly.Memory;
  /** Address of the vCPU's state. */
  readonly cpu: number;
  readonly cpuModel: string;
  readonly port: MessagePort;
  readonly translationCache?: string;
}

export interface TranslationRequest {
  readonly request: RegionRequest;
  readonly epoch: number;
}
