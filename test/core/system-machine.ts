import { readFileSync } from 'node:fs';
import { applyModel, findModel } from '#cpu/cpuid.ts';
import { layOut } from '#cpu/layout.ts';
import { readState } from '#cpu/vcpu-state.ts';
import {
  PAGE_RAM,
  S_AREA,
  S_CPL,
  S_CR0,
  S_CR3,
  S_CR4,
  S_EFER,
  S_EFLAGS,
  S_EXC_ERROR,
  S_EXC_FLAGS,
  S_EXC_VECTOR,
  S_GDT_BASE,
  S_GDT_LIMIT,
  S_IDT_BASE,
  S_IDT_LIMIT,
  S_PAGE_MAP,
  S_RAM_HOST,
  S_RAM_SIZE,
  S_REGS,
  S_RIP,
  S_SEGS,
  SEG_BASE,
  SEG_CS,
  SEG_LIMIT,
  SEG_RIGHTS,
  SEG_SELECTOR,
  SEG_SIZE,
  SEG_SS,
  SEG_TR,
} from '#ir/state.ts';

const UNWIND = { name: 'unwind' };
/** Functions that the core imports from its host. */
const IMPORTS =
  'unwind tsc mmio_read mmio_write port_read port_write random32 cpuid apic_msr_read apic_msr_write tsc_moved unknown_msr task_priority set_task_priority predecode learn_insn patched_block block_dropped block_hot trace_event x87_unmasked x87_error'.split(
    ' ',
  );
const RAM_BYTES = 4 << 20;
export const GDT = 0x1000;
const IDT = 0x2000;
export const TSS = 0x3000;

// Selectors of the table that `SystemMachine` begins with.
export const CODE0 = 0x08;
export const DATA0 = 0x10;
export const CODE3 = 0x1b;
export const DATA3 = 0x23;
export const TASK = 0x28;
export const CODE64 = 0x38;
export const CODE3_64 = 0x43;
/** The first of the entries that tests fill themselves. */
export const FREE = 0x50;

/** A code or data descriptor: `access` is its byte 5, `flags` G D L AVL. */
export function segment(base: number, limit: number, access: number, flags: number): bigint {
  const high =
    (base & 0xff000000) |
    (flags << 20) |
    (limit & 0xf0000) |
    (access << 8) |
    ((base >>> 16) & 0xff);
  const low = ((base & 0xffff) << 16) | (limit & 0xffff);
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
}

/** A call, interrupt, trap or task gate. */
export function gate(selector: number, offset: number, access: number, count = 0): bigint {
  const high = (offset & 0xffff0000) | (access << 8) | count;
  return (BigInt(high >>> 0) << 32n) | BigInt(((selector << 16) | (offset & 0xffff)) >>> 0);
}

export interface Fault {
  readonly vector: number;
  /** Absent where the exception pushes none. */
  readonly error?: number;
}

type Export = (...args: (number | bigint)[]) => number | bigint | undefined;

/** The core alone, with tables and helpers to put it into any mode; no instruction is run. */
export class SystemMachine {
  readonly cpu: number;
  readonly ram: number;
  readonly memory: WebAssembly.Memory;
  readonly view: DataView;
  readonly ports: string[] = [];
  ticks = 0;
  readonly #core: Record<string, Export>;

  /** `host`: functions that the core is to import, where a test has something to do in them. */
  constructor(host: Readonly<Record<string, (...args: number[]) => number>> = {}) {
    const layout = layOut(1, RAM_BYTES, 0);
    const memory = new WebAssembly.Memory({ initial: layout.pages, maximum: 65536, shared: true });
    this.memory = memory;
    this.view = new DataView(memory.buffer);
    this.cpu = layout.cpus[0] ?? 0;
    this.ram = layout.ram;
    const module = new WebAssembly.Module(
      readFileSync(new URL('../../build/core.wasm', import.meta.url)),
    );
    const env: Record<string, WebAssembly.ImportValue> = { memory };
    for (const name of IMPORTS) env[name] = () => 0;
    env['unwind'] = () => {
      throw UNWIND;
    };
    env['tsc'] = () => this.ticks;
    env['port_write'] = (_cpu: number, port: number, size: number, value: number) => {
      this.ports.push(`${port.toString(16)}/${size} ${value.toString(16)}`);
    };
    Object.assign(env, host);
    this.#core = new WebAssembly.Instance(module, { env }).exports as Record<string, Export>;
    this.set32(S_AREA, layout.areas[0] ?? 0);
    this.set32(S_PAGE_MAP, layout.pageMap);
    this.set32(S_RAM_HOST, layout.ram);
    this.set32(S_RAM_SIZE, RAM_BYTES);
    new Uint8Array(memory.buffer).fill(PAGE_RAM, layout.pageMap, layout.pageMap + RAM_BYTES / 4096);
    this.call('reset_cpu', this.cpu, 0x206c2);
    applyModel(memory, this.cpu, findModel('max'));
  }

  /** Calls an export of the core; unwinds pass through. */
  call(name: string, ...args: (number | bigint)[]): number | bigint | undefined {
    const found = this.#core[name];
    if (found === undefined) throw new Error(`core has no export ${name}`);
    return found(...args);
  }

  /** Calls a helper for this CPU and gives the exception that it raised. */
  attempt(name: string, ...args: (number | bigint)[]): Fault | undefined {
    try {
      this.call(name, this.cpu, ...args);
      return undefined;
    } catch (error) {
      if (error !== UNWIND) throw error;
      const vector = this.get32(S_EXC_VECTOR);
      return (this.get32(S_EXC_FLAGS) & 1) !== 0
        ? { vector, error: this.get32(S_EXC_ERROR) }
        : { vector };
    }
  }

  get32 = (field: number): number => this.view.getUint32(this.cpu + field, true);
  set32 = (field: number, value: number): void =>
    this.view.setUint32(this.cpu + field, value, true);
  get64 = (field: number): bigint => this.view.getBigUint64(this.cpu + field, true);
  set64 = (field: number, value: bigint): void =>
    this.view.setBigUint64(this.cpu + field, value, true);
  mem16 = (paddr: number): number => this.view.getUint16(this.ram + paddr, true);
  mem32 = (paddr: number): number => this.view.getUint32(this.ram + paddr, true);
  mem64 = (paddr: number): bigint => this.view.getBigUint64(this.ram + paddr, true);
  put16 = (paddr: number, value: number): void =>
    this.view.setUint16(this.ram + paddr, value, true);
  put32 = (paddr: number, value: number): void =>
    this.view.setUint32(this.ram + paddr, value, true);
  put64 = (paddr: number, value: bigint): void =>
    this.view.setBigUint64(this.ram + paddr, value, true);

  reg(number: number): number {
    return Number(this.get64(S_REGS + number * 8));
  }

  setReg(number: number, value: number | bigint): void {
    this.set64(S_REGS + number * 8, BigInt(value));
  }

  get rip(): number {
    return Number(this.get64(S_RIP));
  }

  set rip(value: number) {
    this.set64(S_RIP, BigInt(value));
  }

  get flags(): number {
    return Number(readState(this.memory, this.cpu).rflags);
  }

  selector(seg: number): number {
    return this.get32(S_SEGS + seg * SEG_SIZE + SEG_SELECTOR);
  }

  setSegment(seg: number, selector: number, base: number, limit: number, rights: number): void {
    const at = S_SEGS + seg * SEG_SIZE;
    this.set64(at + SEG_BASE, BigInt(base));
    this.set32(at + SEG_LIMIT, limit);
    this.set32(at + SEG_RIGHTS, rights);
    this.set32(at + SEG_SELECTOR, selector);
  }

  descriptor(selector: number, value: bigint): void {
    this.put64(GDT + (selector & 0xfff8), value);
  }

  interruptGate(vector: number, value: bigint): void {
    this.put64(IDT + vector * 8, value);
  }

  update(): void {
    this.call('updateKey', this.cpu);
  }

  /** Protected mode without paging, with flat segments of privilege `cpl`. */
  protect(cpl: 0 | 3): void {
    this.set64(S_CR0, 0x11n);
    this.descriptor(CODE0, segment(0, 0xfffff, 0x9b, 0xc));
    this.descriptor(DATA0, segment(0, 0xfffff, 0x93, 0xc));
    this.descriptor(CODE3, segment(0, 0xfffff, 0xfb, 0xc));
    this.descriptor(DATA3, segment(0, 0xfffff, 0xf3, 0xc));
    this.descriptor(CODE64, segment(0, 0xfffff, 0x9b, 0xa));
    this.descriptor(CODE3_64, segment(0, 0xfffff, 0xfb, 0xa));
    this.set64(S_GDT_BASE, BigInt(GDT));
    this.set32(S_GDT_LIMIT, 0xff);
    this.set64(S_IDT_BASE, BigInt(IDT));
    this.set32(S_IDT_LIMIT, 0x7ff);
    this.setSegment(SEG_TR, TASK, TSS, 0x200, 0x8b);
    this.descriptor(TASK, segment(TSS, 0x200, 0x8b, 0));
    this.put32(TSS + 4, 0x8000);
    this.put32(TSS + 8, DATA0);
    this.setFlat(cpl, cpl === 0 ? CODE0 : CODE3, 0xc09b, cpl === 0 ? DATA0 : DATA3);
    this.setReg(4, cpl === 0 ? 0x7000 : 0x6000);
    this.update();
  }

  setFlat(cpl: number, code: number, codeRights: number, data: number): void {
    this.set32(S_CPL, cpl);
    for (let seg = 0; seg < 6; seg++)
      this.setSegment(seg, data, 0, 0xffffffff, 0xc093 | (cpl << 5));
    this.setSegment(SEG_CS, code, 0, 0xffffffff, codeRights | (cpl << 5));
  }

  /** 64-bit mode, identity-mapped by one 1 GiB page. */
  long(cpl: 0 | 3): void {
    this.protect(cpl);
    this.put64(0x10000, 0x11007n);
    this.put64(0x11000, 0x87n);
    this.set64(S_CR4, 0x20n);
    this.set64(S_CR0, 0x80000011n);
    this.set64(S_CR3, 0x10000n);
    this.set64(S_EFER, 0xd01n);
    this.setFlat(cpl, cpl === 0 ? CODE64 : CODE3_64, 0xa09b, cpl === 0 ? DATA0 : DATA3);
    this.put64(TSS + 4, 0x8000n);
    this.put64(TSS + 36, 0x9008n);
    this.update();
    this.call('flushTlb', this.cpu, 1);
  }

  /** A gate of IA-32e mode. */
  longGate(vector: number, selector: number, offset: number, access: number, ist = 0): void {
    this.put64(IDT + vector * 16, gate(selector, offset, access, ist));
    this.put64(IDT + vector * 16 + 8, 0n);
  }

  /** Virtual-8086 mode at CS:IP 0x1000:0, stack at 0x2000:0x100. */
  virtual8086(iopl: number): void {
    this.protect(0);
    this.set32(S_CPL, 3);
    for (let seg = 0; seg < 6; seg++) this.setSegment(seg, 0x1000, 0x10000, 0xffff, 0xf3);
    this.setSegment(SEG_SS, 0x2000, 0x20000, 0xffff, 0xf3);
    this.setReg(4, 0x100);
    this.rip = 0x10;
    this.setFlags(0x20202 | (iopl << 12));
  }

  /** Flags other than the arithmetic ones. */
  setFlags(value: number): void {
    this.set32(S_EFLAGS, value);
    this.update();
  }
}
