import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { applyModel, findModel } from '#cpu/cpuid.ts';
import type { HandlerMap } from '#cpu/handlers.ts';
import type { Translator } from '#cpu/hot-tier.ts';
import { ImmediateTranslator } from '#cpu/immediate-translator.ts';
import { layOut } from '#cpu/layout.ts';
import { RegionCompiler } from '#cpu/region-compiler.ts';
import { SoftwareVcpu } from '#cpu/vcpu.ts';
import type { VcpuHost } from '#cpu/vcpu-host.ts';
import { writeState } from '#cpu/vcpu-state.ts';
import type { MemoryGate } from '#hw/memory-gate.ts';
import {
  ATTN_INTERRUPT,
  ATTN_INVALIDATE,
  PAGE_RAM,
  S_AREA,
  S_ATTENTION,
  S_PAGE_MAP,
  S_RAM_HOST,
  S_RAM_SIZE,
} from '#ir/state.ts';

// A small machine for guests of a few hundred instructions in 64-bit mode: its page tables, IDT and TSS are made here, and
// nearly all that runs is translated.

const BUILD = new URL('../../build/', import.meta.url);
const RAM_BYTES = 4 << 20;
const PAGE = 4096;
const TABLES = 0x1000;
const IDT = 0x6000;
const TSS = 0x7000;
const STACK0 = 0x9000;
const PRESENT_WRITE_USER = 7n;

/** Where the guest's code is put: identity-mapped, as all of RAM is. Its first words are entry points: see `assemble`. */
export const CODE = 0x10000;
/** Linear addresses of pages that tests remap: DATA_PAGES of them, at first those from DATA_PADDR. */
export const DATA = 0x400000;
export const DATA_PAGES = 16;
export const DATA_PADDR = 0x100000;
/** CODE once more. */
const ALIAS = 0x500000;
const ALIAS_PAGES = 16;
const STACK = 0x700000;
const STACK_PADDR = 0x200000;
const STACK_PAGES = 4;
/** Beyond RAM: a register that counts its reads. */
const DEVICE = 0x600000;
const DEVICE_PADDR = 0x800000n;
/** Page-table entries of DATA and of the identity map of the first 2 MiB, at their physical, and linear, addresses. */
export const DATA_TABLE = TABLES + 3 * PAGE;
export const LOW_TABLE = TABLES + 2 * PAGE;
export const VECTOR_IRQ = 0x20;
/** Ends the guest. */
const END_PORT = 0xf4;

export interface GuestOptions {
  readonly verify: boolean;
  /** 0: nothing is translated. */
  readonly heat?: number;
  /** Instructions until the next look around. */
  readonly slice?: () => number;
  /** The clock by which translated code is put in place, in milliseconds. */
  readonly nowMs?: () => number;
  readonly user?: boolean;
  /** It begins in 32-bit code; its handlers are 64-bit code all the same. */
  readonly code32?: boolean;
  readonly gate?: MemoryGate;
  /** Called between slices. */
  readonly boundary?: (machine: GuestMachine) => void;
  /** Called when the guest has written to a port. */
  readonly portWritten?: (machine: GuestMachine) => void;
  /** Nanoseconds that an interrupt lets a halted guest sleep; without it, guests do not halt. */
  readonly sleepNs?: number;
  /** Asked before each sleep: nanoseconds until a timer ends it, without which an interrupt does. */
  readonly timerNs?: () => number | undefined;
  /** Stands between the translator and the vCPU. */
  readonly translator?: (
    real: Translator,
    machine: GuestMachine,
    compiler: RegionCompiler,
  ) => Translator;
}

/** Why guests cannot be assembled here. */
export function missingTools(): string | false {
  const missing = ['as', 'ld'].filter((tool) => spawnSync(tool, ['--version']).status !== 0);
  return missing.length > 0 ? `no ${missing.join(', ')}; install binutils` : false;
}

/** The end of a loop that begins at `0:` and is counted down in R15, and of the guest. */
const MACROS = `
.macro next_turn
  dec %r15d
  jnz 0b
  out %al, $${END_PORT}
  1: jmp 1b
.endm
`;

/**
 * 64-bit code for CODE, of GNU assembly that defines `start`, `on_irq` (vector 0x20) and `on_fault` (#PF). Addresses are
 * CODE, DATA, ALIAS, DEVICE, DATA_TABLE and LOW_TABLE;
 * `next_turn` ends a loop.
 */
export function assemble(source: string): Uint8Array {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'ring0-guest-'));
  const file = (name: string) => path.join(dir, name);
  const names = Object.entries({ CODE, DATA, ALIAS, DEVICE, DATA_TABLE, LOW_TABLE });
  const header = names.map(([name, value]) => `.set ${name}, ${value}\n`).join('');
  try {
    writeFileSync(
      file('guest.s'),
      `${header}${MACROS}.text\n.globl _start\n_start: .quad start, on_irq, on_fault\n${source}`,
    );
    execFileSync('as', ['--64', '-o', file('guest.o'), file('guest.s')]);
    const flags = [`-Ttext=0x${CODE.toString(16)}`, '--oformat', 'binary', '-m', 'elf_x86_64'];
    execFileSync('ld', [...flags, '-o', file('guest'), file('guest.o')]);
    return new Uint8Array(readFileSync(file('guest')));
  } finally {
    rmSync(dir, { recursive: true });
  }
}

export class GuestMachine {
  readonly memory: WebAssembly.Memory;
  readonly vcpu: SoftwareVcpu;
  readonly cpu: number;
  readonly ram: number;
  readonly view: DataView;
  readonly bytes: Uint8Array;
  readonly #words: Int32Array;
  readonly #options: GuestOptions;
  /** An interrupt waits. */
  irq = false;
  /** Values written to the device, and how often it was read. */
  readonly written: number[] = [];
  /** Values written to other ports than the one that ends the guest. */
  readonly outs: number[] = [];
  reads = 0;
  #invalid: number[] = [];
  #ended = false;
  #boundaries = 0;
  #asleepNs = 0;
  #timerNs: number | undefined;
  /** How often the vCPU has looked for work before it slept, and found none. */
  looks = 0;

  constructor(options: GuestOptions) {
    const layout = layOut(1, RAM_BYTES, 0);
    const model = findModel('max');
    this.#options = options;
    this.memory = new WebAssembly.Memory({ initial: layout.pages, maximum: 65536, shared: true });
    this.cpu = layout.cpus[0] ?? 0;
    this.ram = layout.ram;
    this.view = new DataView(this.memory.buffer);
    this.bytes = new Uint8Array(this.memory.buffer);
    this.#words = new Int32Array(this.memory.buffer);
    const file = (name: string) => readFileSync(new URL(name, BUILD));
    const { heat = 2, slice, nowMs } = options;
    const compiler = new RegionCompiler(this.memory, this.cpu, model.features);
    const real = new ImmediateTranslator(compiler);
    const parts = {
      memory: this.memory,
      core: new WebAssembly.Module(file('core.wasm')),
      interpreter: new WebAssembly.Module(file('interpreter.wasm')),
      handlers: JSON.parse(file('handlers.json').toString()) as HandlerMap,
      features: model.features,
      verify: options.verify,
      ...(heat > 0 && { translator: options.translator?.(real, this, compiler) ?? real }),
      pace: { heat: heat > 0 ? heat : 1_000_000, ...(slice && { slice }), ...(nowMs && { nowMs }) },
    };
    for (const [field, value] of [
      [S_AREA, layout.areas[0]],
      [S_PAGE_MAP, layout.pageMap],
      [S_RAM_HOST, layout.ram],
      [S_RAM_SIZE, RAM_BYTES],
    ] as const)
      this.view.setUint32(this.cpu + field, value ?? 0, true);
    this.bytes.fill(PAGE_RAM, layout.pageMap, layout.pageMap + RAM_BYTES / PAGE);
    this.vcpu = new SoftwareVcpu(parts, this.cpu, this.#host());
    this.vcpu.core.reset_cpu(this.cpu, model.signature);
    applyModel(this.memory, this.cpu, model);
  }

  /** Puts code in place and the processor at its `start`. */
  load(code: Uint8Array): void {
    this.bytes.set(code, this.ram + CODE);
    const entry = (i: number) => this.word(CODE + i * 8);
    this.#makeTables(entry(1), entry(2));
    const user = this.#options.user === true;
    const data = { selector: user ? 0x23 : 0x10, base: 0n, limit: 0xffffffff, rights: 0xc093 };
    const text = {
      selector: user ? 0x1b : 0x08,
      base: 0n,
      limit: 0xffffffff,
      rights: this.#options.code32 === true ? 0xc09b : 0xa09b,
    };
    const level = user ? 0x60 : 0;
    const flat = { ...data, rights: data.rights | level };
    writeState(this.memory, this.cpu, {
      segments: [flat, { ...text, rights: text.rights | level }, flat, flat, flat, flat],
      tr: { selector: 0x28, base: BigInt(TSS), limit: 103, rights: 0x8b },
      gdtr: { base: BigInt(TSS + 0x800), limit: 0x2f },
      idtr: { base: BigInt(IDT), limit: 0xfff },
      regs: Array.from({ length: 16 }, (_, i) =>
        i === 4 ? BigInt(STACK + STACK_PAGES * PAGE - 64) : 0n,
      ),
      rip: entry(0),
      rflags: 0x3202n,
      cr0: 0x80010033n,
      cr3: BigInt(TABLES),
      cr4: 0x40620n,
      efer: 0xd01n,
    });
    this.vcpu.core.flush_tlb(this.cpu);
    this.vcpu.core.updateKey(this.cpu);
  }

  /** A quadword of guest-physical memory. */
  word(paddr: number): bigint {
    return this.view.getBigUint64(this.ram + paddr, true);
  }

  setWord(paddr: number, value: bigint): void {
    this.view.setBigUint64(this.ram + paddr, value, true);
  }

  #makeTables(onIrq: bigint, onFault: bigint): void {
    const table = (i: number) => TABLES + i * PAGE;
    const map = (paddr: number, index: number, to: bigint) =>
      this.setWord(paddr + index * 8, to | PRESENT_WRITE_USER);
    const directory = table(4);
    map(TABLES, 0, BigInt(table(1)));
    map(table(1), 0, BigInt(directory));
    map(directory, 0, BigInt(LOW_TABLE));
    map(directory, 2, BigInt(DATA_TABLE));
    // The device and the stack each have the table behind the directory's place for data.
    for (let i = 0; i < 512; i++) map(LOW_TABLE, i, BigInt(i * PAGE));
    for (let i = 0; i < DATA_PAGES; i++) map(DATA_TABLE, i, BigInt(DATA_PADDR + i * PAGE));
    for (let i = 0; i < ALIAS_PAGES; i++)
      map(DATA_TABLE, (ALIAS - DATA) / PAGE + i, BigInt(CODE + i * PAGE));
    const high = STACK0 + PAGE;
    map(directory, 3, BigInt(high));
    map(high, 0, DEVICE_PADDR);
    for (let i = 0; i < STACK_PAGES; i++)
      map(high, (STACK - DEVICE) / PAGE + i, BigInt(STACK_PADDR + i * PAGE));
    this.#gate(VECTOR_IRQ, onIrq);
    this.#gate(14, onFault);
    // 64-bit TSS: RSP0. GDT: null, code and data of ring 0 and of ring 3.
    this.setWord(TSS + 4, BigInt(STACK0));
    const descriptors = [0n, 0xaf9b000000ffffn, 0xcf93000000ffffn, 0xaffb000000ffffn];
    for (const [i, value] of [...descriptors, 0xcff3000000ffffn].entries())
      this.setWord(TSS + 0x800 + i * 8, value);
  }

  #gate(vector: number, offset: bigint): void {
    const low = (offset & 0xffffn) | (8n << 16n) | (0x8en << 40n) | ((offset >> 16n) << 48n);
    this.setWord(IDT + vector * 16, BigInt.asUintN(64, low));
    this.setWord(IDT + vector * 16 + 8, offset >> 32n);
  }

  /** Makes the vCPU look around. */
  attention(bits = ATTN_INTERRUPT): void {
    Atomics.or(this.#words, (this.cpu + S_ATTENTION) >> 2, bits);
  }

  /** A device writes to memory. */
  dma(paddr: number, data: Uint8Array): void {
    this.bytes.set(data, this.ram + paddr);
    this.#invalid.push(Math.floor(paddr / PAGE), Math.floor((paddr + data.length - 1) / PAGE));
    this.attention(ATTN_INVALIDATE);
  }

  /** Runs until the guest ends; throws when it is in an endless loop. */
  run(mostBoundaries = 50_000): void {
    this.#ended = false;
    this.#boundaries = mostBoundaries;
    const exit = this.vcpu.run();
    if (exit.type !== 'stopped') throw new Error(`the guest ended by ${exit.type}`);
    if (this.#boundaries < 0) throw new Error('the guest does not end');
  }

  #host(): VcpuHost {
    return {
      portRead: () => 0xffffffff,
      portWrite: (port, _size, value) => {
        if (port === END_PORT) this.end();
        else this.outs.push(value);
        this.#options.portWritten?.(this);
      },
      mmioRead: () => this.reads++,
      mmioWrite: (_paddr, _size, value) => void this.written.push(value),
      tsc: () => this.#boundaries,
      random32: () => 4,
      cpuid: () => {},
      apicMsrRead: () => false,
      apicMsrWrite: () => false,
      tscMoved: () => {},
      unknownMsr: () => {},
      setTaskPriority: () => {},
      taskPriority: () => 0,
      beforeSleep: () => {
        const { sleepNs } = this.#options;
        if (sleepNs === undefined)
          throw new Error('the guest has halted: an exception that it does not expect');
        this.#asleepNs += this.#timerNs ?? sleepNs;
        this.irq = true;
        if (this.#timerNs === undefined) this.attention();
      },
      hasInterrupt: () => this.irq,
      acknowledge: () => {
        this.irq = false;
        return VECTOR_IRQ;
      },
      takeNmi: () => false,
      awaitsDevices: () => {
        this.looks++;
        return false;
      },
      nextDeadlineNs: () => {
        this.#timerNs = this.#options.timerNs?.();
        return this.#nowNs() + (this.#timerNs ?? Number.POSITIVE_INFINITY);
      },
      nowNs: () => this.#nowNs(),
      poll: () => {
        if (--this.#boundaries < 0) this.end();
        this.#options.boundary?.(this);
      },
      ended: () => (this.#ended ? { type: 'stopped' } : undefined),
      ...(this.#options.gate && { gate: this.#options.gate }),
      invalidated: () => {
        const pages = this.#invalid;
        this.#invalid = [];
        return pages;
      },
    };
  }

  /** Slices stay short. */
  #nowNs(): number {
    return this.#asleepNs - this.#boundaries * 1e6;
  }

  /** The guest is to stop at the next look around. */
  end(): void {
    this.#ended = true;
    this.attention();
  }
}
