import { readFileSync } from 'node:fs';
import type { VcpuExit } from '#accel/accel.ts';
import type { HandlerMap } from '#cpu/handlers.ts';
import type { Translator } from '#cpu/hot-tier.ts';
import { ImmediateTranslator } from '#cpu/immediate-translator.ts';
import { layOut } from '#cpu/layout.ts';
import { RegionCompiler } from '#cpu/region-compiler.ts';
import { SoftwareVcpu } from '#cpu/vcpu.ts';
import type { VcpuHost } from '#cpu/vcpu-host.ts';
import {
  ATTN_INTERRUPT,
  PAGE_MAP_BYTES,
  PAGE_RAM,
  S_AREA,
  S_ATTENTION,
  S_HALTED,
  S_PAGE_MAP,
  S_RAM_HOST,
  S_RAM_SIZE,
} from '#ir/state.ts';
import { FEATURES } from '#isa/x86/insn.ts';

/** Looks at the clock, one every 10,000 instructions or more, after which a test is taken to run for ever. */
const MOST_POLLS = 10;
const BUILD = new URL('../../build/', import.meta.url);
const file = (name: string) => readFileSync(new URL(name, BUILD));
const engine = {
  core: new WebAssembly.Module(file('core.wasm')),
  interpreter: new WebAssembly.Module(file('interpreter.wasm')),
  handlers: JSON.parse(file('handlers.json').toString()) as HandlerMap,
};

export interface BareOptions {
  /** What stands around the CPU, where that is to be more than nothing. */
  readonly host?: Partial<VcpuHost>;
  /** How often a block runs before it is translated. */
  readonly heat?: number;
  readonly verify?: boolean;
  /** Of the regions held at once. */
  readonly mostWasmBytes?: number;
}

/** A virtual CPU with RAM and nothing else; exceptions are not delivered but reported. */
export class BareMachine {
  readonly memory: WebAssembly.Memory;
  readonly cpu: number;
  readonly ram: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly vcpu: SoftwareVcpu;
  /** Vector of the exception that ended the last run, or -1. */
  exception = -1;
  /** How the last run ended. */
  end: VcpuExit | undefined;
  /** The last run was cut off: it seemed to be without end. */
  endless = false;
  /** It reached where no memory is. */
  strayed = false;
  /** Pages that a device has written to; undefined: too many to tell. */
  stale: number[] | undefined = [];
  #stop = false;
  #polls = 0;

  constructor(ramBytes: number, { host, heat, verify = false, mostWasmBytes }: BareOptions = {}) {
    const layout = layOut(1, ramBytes, 0);
    this.memory = new WebAssembly.Memory({ initial: layout.pages, maximum: 65536, shared: true });
    this.cpu = layout.cpus[0] ?? 0;
    this.ram = layout.ram;
    this.bytes = new Uint8Array(this.memory.buffer);
    this.view = new DataView(this.memory.buffer);
    const features = new Set(FEATURES);
    const parts = {
      ...(mostWasmBytes !== undefined && { mostWasmBytes }),
      memory: this.memory,
      ...engine,
      features,
      verify,
      pace: heat === undefined ? undefined : { heat },
      translator: this.#translator(new RegionCompiler(this.memory, this.cpu, features), heat),
    };
    this.set32(S_AREA, layout.areas[0] ?? 0);
    this.set32(S_PAGE_MAP, layout.pageMap);
    this.set32(S_RAM_HOST, layout.ram);
    this.set32(S_RAM_SIZE, ramBytes);
    this.bytes.fill(PAGE_RAM, layout.pageMap, layout.pageMap + ramBytes / 4096);
    this.vcpu = new SoftwareVcpu(parts, this.cpu, { ...this.#host(), ...host });
    this.vcpu.core.reset_cpu(this.cpu, 0x306a9);
  }

  /** With `heat`, what has been translated is put to use at once. */
  #translator(compiler: RegionCompiler, heat: number | undefined): Translator {
    const translator = new ImmediateTranslator(compiler);
    if (heat === undefined) return translator;
    return {
      request: (request, epoch) => {
        translator.request(request, epoch);
        this.attend();
      },
      hasNews: () => translator.hasNews(),
      take: () => translator.take(),
    };
  }

  #host(): VcpuHost {
    return {
      portRead: () => 0xffffffff,
      portWrite: () => {},
      mmioRead: () => this.#strayed(),
      mmioWrite: () => void this.#strayed(),
      tsc: () => 0,
      random32: () => 4,
      cpuid: () => {},
      apicMsrRead: () => false,
      apicMsrWrite: () => false,
      tscMoved: () => {},
      unknownMsr: () => {},
      setTaskPriority: () => {},
      taskPriority: () => 0,
      beforeSleep: () => {},
      hasInterrupt: () => false,
      acknowledge: () => -1,
      takeNmi: () => false,
      nextDeadlineNs: () => Number.POSITIVE_INFINITY,
      // Slices stay short.
      nowNs: () => this.#polls * 1e9,
      poll: () => {
        if (++this.#polls <= MOST_POLLS) return;
        this.endless = true;
        this.#stop = true;
      },
      ended: () =>
        this.#stop || this.view.getUint32(this.cpu + S_HALTED, true) !== 0
          ? { type: 'stopped' }
          : undefined,
      intercept: (vector) => {
        this.exception = vector;
        this.#stop = true;
        return true;
      },
      invalidated: () => this.stale,
    };
  }

  /** Takes the memory away from all pages but those of these ranges. */
  keepOnly(ranges: readonly (readonly [paddr: number, bytes: number])[]): void {
    const map = this.view.getUint32(this.cpu + S_PAGE_MAP, true);
    this.bytes.fill(0, map, map + PAGE_MAP_BYTES);
    for (const [paddr, bytes] of ranges) {
      this.bytes.fill(PAGE_RAM, map + paddr / 4096, map + (paddr + bytes) / 4096);
    }
  }

  /** An access beyond RAM: a page fault, for all that a program sees. */
  #strayed(): number {
    this.strayed = true;
    this.#stop = true;
    return 0;
  }

  /** Has the CPU look around before the next block. */
  attend(): void {
    const word = (this.cpu + S_ATTENTION) >> 2;
    Atomics.or(new Int32Array(this.memory.buffer), word, ATTN_INTERRUPT);
  }

  /** Runs until an exception or HLT; `hot`: with the block at RIP translated. */
  run(hot = false): void {
    if (hot) this.vcpu.warm();
    this.exception = -1;
    this.strayed = false;
    this.endless = false;
    this.#stop = false;
    this.#polls = 0;
    this.end = this.vcpu.run();
  }

  set32(field: number, value: number): void {
    this.view.setUint32(this.cpu + field, value, true);
  }

  set64(field: number, value: bigint): void {
    this.view.setBigUint64(this.cpu + field, BigInt.asUintN(64, value), true);
  }
}
