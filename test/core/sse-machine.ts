import { ColdEmitter } from '#codegen/cold-emitter.ts';
import { LocalPool } from '#codegen/local-pool.ts';
import { FunctionBody, ModuleWriter } from '#codegen/wasm.ts';
import { coldContext, MEM_BASE, MEM_NONE } from '#cpu/forms.ts';
import {
  KEY_CODE64,
  REC_A,
  REC_B,
  REC_BASE,
  REC_IMM,
  REC_SEG,
  S_AREA,
  S_CR4,
  S_EFLAGS,
  S_FLAGS_AUX,
  S_FLAGS_RES,
  S_FPU_EMPTY,
  S_FPU_REGS,
  S_FPU_TOP,
  S_KEY,
  S_MXCSR,
  S_RDI,
  S_TLB_READ,
  S_TLB_WRITE,
  S_XMM,
  SEG_DS,
  TLB_BYTES,
  TLB_ENTRY_SIZE,
} from '#ir/state.ts';
import { HELPERS } from '#translate/x86/helpers.ts';
import { MMX_LIFTS } from '#translate/x86/lift/mmx.ts';
import { SSE_LIFTS } from '#translate/x86/lift/sse.ts';
import { Lifter } from '#translate/x86/lifter.ts';
import type { Encoding } from './sse-cases.ts';

/** Size of a case and the places of its fields: struct Case of sse-oracle.c. */
export const CASE_SIZE = 176;
export const C_RAX = 16;
export const C_MXCSR = 40;
export const C_TRAPPED = 44;
export const C_XMM = 48;
export const C_MEM = 112;
export const C_MM = 128;
export const C_EFLAGS = 160;
export const ARITHMETIC_FLAGS = 0x8d5n;

const MARK = new Error('unwind');
const CPU = 0x4000;
const RECORD = 0x8000;
const AREA = 0x100000;
const PAGE = 0x200000;
/** Where the guest sees PAGE. */
const VADDR = 0x5000;
const MEMORY_PAGES = 65536;
const READS = [
  ['8', 'i32'],
  ['16', 'i32'],
  ['32', 'i32'],
  ['64', 'i64'],
  ['128', 'v128'],
] as const;

type Handler = (cpu: number, record: number) => void;

/** Handlers made of the lifts of the given forms, run over a state of their own. */
export class SseMachine {
  readonly #handlers: readonly Handler[];
  readonly #view: DataView;
  readonly #bytes: Uint8Array;

  constructor(core: WebAssembly.Module, encodings: readonly Encoding[]) {
    const memory = new WebAssembly.Memory({ initial: 512, maximum: MEMORY_PAGES, shared: true });
    const unused = () => {
      throw new Error('not expected to be called');
    };
    const known: Record<string, unknown> = {
      memory,
      unwind: () => {
        throw MARK;
      },
    };
    const env = new Proxy(known, { get: (target, name) => target[String(name)] ?? unused });
    const instance = new WebAssembly.Instance(core, { env: env });
    const module = new WebAssembly.Module(buildModule(encodings) as Uint8Array<ArrayBuffer>);
    const { exports } = new WebAssembly.Instance(module, {
      env: { memory },
      core: instance.exports,
    });
    this.#handlers = encodings.map((_, i) => exports[`h${i}`] as Handler);
    this.#bytes = new Uint8Array(memory.buffer);
    this.#view = new DataView(memory.buffer);
    this.#setUp();
  }

  #setUp(): void {
    const view = this.#view;
    view.setUint32(CPU + S_KEY, KEY_CODE64, true);
    view.setUint32(CPU + S_AREA, AREA, true);
    view.setUint32(CPU + S_TLB_READ, AREA, true);
    view.setUint32(CPU + S_TLB_WRITE, AREA + TLB_BYTES, true);
    view.setBigUint64(CPU + S_CR4, 1n << 10n, true);
    for (const table of [AREA, AREA + TLB_BYTES]) {
      const entry = table + (VADDR >> 12) * TLB_ENTRY_SIZE;
      view.setBigUint64(entry, BigInt(VADDR), true);
      view.setUint32(entry + 8, PAGE - VADDR, true);
    }
  }

  /** Runs the form on a case, `offset` bytes into a page; the result replaces the case. True when it raised. */
  run(form: number, encoding: Encoding, testCase: Uint8Array, offset = 0): boolean {
    const input = new DataView(testCase.buffer, testCase.byteOffset, CASE_SIZE);
    const bytes = this.#bytes;
    const view = this.#view;
    for (let i = 0; i < 3; i++)
      view.setBigUint64(CPU + 8 * i, input.getBigUint64(C_RAX + 8 * i, true), true);
    view.setBigUint64(CPU + S_RDI, BigInt(VADDR + offset), true);
    view.setUint32(CPU + S_MXCSR, input.getUint32(C_MXCSR, true), true);
    bytes.set(testCase.subarray(C_XMM, C_XMM + 64), CPU + S_XMM);
    bytes.set(testCase.subarray(C_MEM, C_MEM + 16), PAGE + offset);
    for (let i = 0; i < 4; i++)
      view.setBigUint64(CPU + S_FPU_REGS + 16 * i, input.getBigUint64(C_MM + 8 * i, true), true);
    view.setUint32(CPU + S_EFLAGS, 0x202, true);
    // All arithmetic flags clear: RES is 1, whose parity is odd.
    view.setBigUint64(CPU + S_FLAGS_RES, 1n, true);
    view.setBigUint64(CPU + S_FLAGS_AUX, 0n, true);
    view.setUint32(CPU + S_FPU_EMPTY, 0xff, true);
    view.setUint32(CPU + S_FPU_TOP, 5, true);
    this.#writeRecord(encoding, testCase);
    const raised = this.#call(form);
    for (let i = 0; i < 3; i++)
      input.setBigUint64(C_RAX + 8 * i, view.getBigUint64(CPU + 8 * i, true), true);
    input.setUint32(C_MXCSR, view.getUint32(CPU + S_MXCSR, true), true);
    testCase.set(bytes.subarray(CPU + S_XMM, CPU + S_XMM + 64), C_XMM);
    testCase.set(bytes.subarray(PAGE + offset, PAGE + offset + 16), C_MEM);
    for (let i = 0; i < 4; i++)
      input.setBigUint64(C_MM + 8 * i, view.getBigUint64(CPU + S_FPU_REGS + 16 * i, true), true);
    input.setBigUint64(C_EFLAGS, this.#flags(), true);
    return raised;
  }

  /** What the last instruction left of the x87 unit: before it TOP is 5 and all registers are empty. */
  x87(): { top: number; empty: number; exponent: number } {
    const view = this.#view;
    return {
      top: view.getUint32(CPU + S_FPU_TOP, true),
      empty: view.getUint32(CPU + S_FPU_EMPTY, true),
      exponent: view.getUint16(CPU + S_FPU_REGS + 16 + 8, true),
    };
  }

  #call(form: number): boolean {
    try {
      this.#handlers[form]?.(CPU, RECORD);
      return false;
    } catch (error) {
      if (error === MARK) return true;
      throw error;
    }
  }

  #writeRecord({ row, memory, bytes, immediateAt }: Encoding, testCase: Uint8Array): void {
    const view = this.#view;
    this.#bytes.fill(0, RECORD, RECORD + 32);
    view.setUint8(RECORD + REC_SEG, SEG_DS);
    if (immediateAt >= 0)
      view.setBigInt64(RECORD + REC_IMM, BigInt(testCase[immediateAt] ?? 0), true);
    const fields = [REC_A, REC_B, REC_BASE];
    for (const { kind } of row.operands) {
      if (kind === 'I' || (memory && 'EMWQ'.includes(kind))) continue;
      const number = 'GVP'.includes(kind) ? 1 : 2;
      view.setUint8(RECORD + (fields.shift() ?? REC_A), 'EGR'.includes(kind) ? number * 8 : number);
    }
    if (memory) view.setUint8(RECORD + REC_BASE, S_RDI);
    if (bytes.length > 15) throw new Error('an instruction is too long');
  }

  #flags(): bigint {
    const res = this.#view.getBigInt64(CPU + S_FLAGS_RES, true);
    const aux = this.#view.getBigUint64(CPU + S_FLAGS_AUX, true);
    const carry = aux >> 63n;
    let parity = 1n;
    for (let b = (BigInt.asUintN(8, res) ^ (aux >> 8n)) & 0xffn; b !== 0n; b >>= 1n)
      parity ^= b & 1n;
    const sign = BigInt(res < 0n) ^ (aux & 1n);
    const overflow = carry ^ ((aux >> 62n) & 1n);
    return (
      carry |
      (parity << 2n) |
      (((aux >> 3n) & 1n) << 4n) |
      (BigInt(res === 0n) << 6n) |
      (sign << 7n) |
      (overflow << 11n)
    );
  }
}

function buildModule(encodings: readonly Encoding[]): Uint8Array {
  const module = new ModuleWriter();
  const blocks = encodings.map(({ row, memory, opSize }) => {
    const mem = memory ? MEM_BASE : MEM_NONE;
    const x = new Lifter(
      coldContext({ row, opSize, mem, rep: 0, addrSize: 8, codeSize: 8, stackSize: 8 }),
    );
    const lift = SSE_LIFTS[row.name] ?? MMX_LIFTS[row.name];
    if (lift === undefined) throw new Error(`no lift ${row.name}`);
    lift(x);
    return x.block;
  });
  const used = new Set(blocks.flatMap((b) => b.insts.flatMap((i) => i.attr.helper ?? [])));
  const helpers = new Map<string, number>();
  for (const name of used) {
    const helper = HELPERS[name];
    if (helper === undefined) throw new Error(`no helper ${name}`);
    helpers.set(
      name,
      module.import('core', name, { params: ['i32', ...helper.params], result: helper.result }),
    );
  }
  for (const [width, type] of READS) {
    helpers.set(
      `read${width}`,
      module.import('core', `read${width}`, { params: ['i32', 'i64'], result: type }),
    );
    helpers.set(
      `write${width}`,
      module.import('core', `write${width}`, { params: ['i32', 'i64', type], result: 'void' }),
    );
  }
  blocks.forEach((block, i) => {
    const f = new FunctionBody(['i32', 'i32'], 'void');
    const terminate = () => {
      throw new Error('an SSE instruction ends a block');
    };
    const helper = (name: string) => helpers.get(name) ?? -1;
    new ColdEmitter({ f, cpu: 0, rec: 1, pool: new LocalPool(f), helper, terminate }).emit(block);
    module.export(`h${i}`, module.function(f));
  });
  return module.encode(MEMORY_PAGES);
}
