import { readState, writeState } from '#cpu/vcpu-state.ts';
import {
  REC_START,
  S_FPU_EMPTY,
  S_FPU_IP,
  S_FPU_REGS,
  S_FPU_STATUS,
  S_FPU_TOP,
  S_HALTED,
  S_ICOUNT,
  S_MXCSR,
  S_REC,
  S_RIP,
  S_XMM,
} from '#ir/state.ts';
import type { InsnRow } from '#isa/x86/insn.ts';
import type { BareMachine } from './bare-machine.ts';
import { type CodeSize, type Encoded, encode } from './encode.ts';
import { CODE_PADDR, DATA_BYTES, DATA_PADDR, STATE, TAKEN_PADDR } from './host-cpu.ts';
import { areOpenNans, isNarrow, isOpen, isOpenMemory, openFlags } from './makers.ts';
import type { Random } from './random.ts';
import { compareX87, fillStack, fillX87, loadX87 } from './x87-state.ts';

export interface Case {
  readonly row: InsnRow;
  readonly encoded: Encoded;
  readonly codeSize: CodeSize;
  /** `struct state` of host-cpu.c. */
  readonly state: Uint8Array;
}

export interface Difference {
  readonly row: string;
  readonly bytes: string;
  readonly what: string;
  readonly host: string;
  readonly ours: string;
}

const RSP = 4;
const DATA_MIDDLE = DATA_PADDR + DATA_BYTES / 2;
/** CF PF AF ZF SF OF. */
const ARITHMETIC = 0x8d5n;
const DF = 0x400n;
/** The page that code lies in. */
const CODE_BYTES = 4096;
const HLT = 0xf4;
const SIGILL = 4;
const SIGFPE = 8;
const SIGSEGV = 11;
const SIGBUS = 7;
/** Signals by vector: what Linux makes of an exception. */
const SIGNALS: Readonly<Record<number, number>> = {
  0: SIGFPE,
  5: SIGSEGV,
  6: SIGILL,
  7: SIGSEGV,
  13: SIGSEGV,
  14: SIGSEGV,
  12: SIGBUS,
  16: SIGFPE,
  17: SIGBUS,
  19: SIGFPE,
};

/**
 * Flags that the book calls undefined and that are not compared, by instruction. Where Intel's parts agree they are.
 */
const UNDEFINED: Readonly<Record<string, bigint>> = {
  div: ARITHMETIC,
  idiv: ARITHMETIC,
  bsf: 0x895n,
  bsr: 0x895n,
  bt: 0x894n,
  bts: 0x894n,
  btr: 0x894n,
  btc: 0x894n,
  shl: 0x810n,
  shr: 0x810n,
  sar: 0x810n,
  rol: 0x800n,
  ror: 0x800n,
  rcl: 0x800n,
  rcr: 0x800n,
  shld: 0x811n,
  shrd: 0x811n,
  mul: 0xd4n,
  imul1: 0xd4n,
  imul: 0xd4n,
  imul3: 0xd4n,
};

export function makeCase(row: InsnRow, random: Random, codeSize: CodeSize = 8): Case {
  let encoded = encode(row, random, codeSize);
  // RSP as a target is the data, which is no code.
  while (isJumpToStack(row, encoded) || isFarBit(row, encoded, codeSize))
    encoded = encode(row, random, codeSize);
  const state = new Uint8Array(STATE.size);
  const view = new DataView(state.buffer);
  for (let i = 0; i < 16; i++) view.setBigUint64(i * 8, random.value(), true);
  // The stack, strings and XLAT stay within the data.
  view.setBigUint64(RSP * 8, BigInt(DATA_MIDDLE), true);
  placeAddress(view, encoded, random, codeSize, /^(jmpInd|callInd)$/.test(row.name));
  if (usesImplicitMemory(row)) {
    for (const reg of [3, 6, 7]) view.setBigUint64(reg * 8, BigInt(DATA_MIDDLE), true);
    if (row.options.rep === true) view.setBigUint64(8, BigInt(random.below(8)), true);
    view.setBigUint64(5 * 8, BigInt(DATA_MIDDLE), true);
  }
  if (/^bt/.test(row.name)) for (let i = 0; i < 16; i++) limitBitIndex(view, i, encoded);
  const direction = row.options.rep === true && random.below(4) === 0 ? DF : 0n;
  view.setBigUint64(STATE.flags, 0x202n | (random.u64() & ARITHMETIC) | direction, true);
  for (let i = 0; i < DATA_BYTES; i += 8) view.setBigUint64(STATE.data + i, random.value(), true);
  if (/^(jmpInd|callInd|ret)$/.test(row.name)) aimAtTaken(view, encoded, codeSize);
  fillFx(view, random);
  if (isX87(row)) fillX87(view, DATA_BYTES, random);
  else fillStack(view, random);
  // A frame of at most 255 bytes stays within the data.
  if (row.name === 'enter') encoded.bytes[encoded.bytes.length - 2] = 0;
  patchBranch(row, encoded, codeSize);
  view.setUint32(STATE.codeBytes, encoded.bytes.length, true);
  view.setUint32(STATE.codeSize, codeSize, true);
  state.set(encoded.bytes, STATE.code);
  return { row, encoded, codeSize, state };
}

function isX87(row: InsnRow): boolean {
  return row.options.unit === 'fpu' || row.options.unit === 'wait';
}

function isJumpToStack(row: InsnRow, { bytes }: Encoded): boolean {
  return /^(jmpInd|callInd)$/.test(row.name) && ((bytes.at(-1) ?? 0) & 0xc7) === 0xc4;
}

/** A bit string indexed by SP or ESP, which stays where the stack is: too far off for a segment of 64 KiB. */
function isFarBit(row: InsnRow, { address, bytes }: Encoded, codeSize: CodeSize): boolean {
  if (codeSize !== 2 || address === undefined || row.options.reg !== undefined) return false;
  const modRm = bytes[bytes.indexOf(0x0f) + 2] ?? 0;
  return /^bt[src]?$/.test(row.name) && ((modRm >> 3) & 7) === RSP;
}

function usesImplicitMemory(row: InsnRow): boolean {
  return (
    row.options.rep === true ||
    row.name === 'xlat' ||
    row.name === 'leave' ||
    row.name === 'enter' ||
    row.name === 'maskmov'
  );
}

function placeAddress(
  view: DataView,
  { address }: Encoded,
  random: Random,
  codeSize: CodeSize,
  aligned: boolean,
): void {
  if (address === undefined) return;
  const target =
    DATA_MIDDLE +
    random.below(8) * 16 +
    (random.below(3) === 0 && aligned === false ? random.below(16) : 0);
  let rest = BigInt(target - address.disp);
  if (address.index >= 0) {
    const index = BigInt(random.below(256) - 128);
    view.setBigUint64(address.index * 8, BigInt.asUintN(64, index), true);
    rest -= index << BigInt(address.shift);
  }
  // What lies above an address of 16 bits does not count, here bits of the data's own.
  view.setBigUint64(address.base * 8, BigInt.asUintN(codeSize * 8, rest), true);
}

/** Indirect branches go where the harness waits, whatever register or word they take. */
function aimAtTaken(view: DataView, { address }: Encoded, codeSize: CodeSize): void {
  const target = BigInt(codeSize === 2 ? TAKEN_PADDR - CODE_PADDR : TAKEN_PADDR);
  for (let i = 0; i < DATA_BYTES; i += 8) view.setBigUint64(STATE.data + i, target, true);
  for (let reg = 0; reg < 16; reg++) {
    if (reg !== RSP && reg !== address?.base && reg !== address?.index)
      view.setBigUint64(reg * 8, target, true);
  }
}

/** Bit strings in memory reach as far as their index: keep it near, but in registers that hold no address. */
function limitBitIndex(view: DataView, reg: number, { address }: Encoded): void {
  if (reg === RSP || address === undefined || reg === address.base || reg === address.index) return;
  const value = view.getBigInt64(reg * 8, true);
  view.setBigInt64(reg * 8, BigInt.asIntN(10, value), true);
}

function fillFx(view: DataView, random: Random): void {
  view.setUint16(STATE.fx, 0x37f, true);
  view.setUint32(STATE.fx + 24, 0x1f80 | (random.below(2) === 0 ? 0x20 : 0), true);
  for (let i = 0; i < 8; i++) {
    // MMX registers: a significand with the exponent that MMX leaves.
    view.setBigUint64(STATE.fx + 32 + i * 16, random.value(), true);
    view.setUint16(STATE.fx + 40 + i * 16, 0xffff, true);
  }
  view.setUint8(STATE.fx + 4, 0xff);
  for (let i = 0; i < 32; i++) view.setBigUint64(STATE.fx + 160 + i * 8, vectorValue(random), true);
}

/** Integers, doubles and pairs of floats as programs have them, and special ones. */
function vectorValue(random: Random): bigint {
  const scratch = new DataView(new ArrayBuffer(8));
  switch (random.below(4)) {
    case 0:
      return random.value();
    case 1:
      scratch.setFloat64(0, (random.below(2000) - 1000) / random.pick([1, 3, 8, 1e10, 1e-10]));
      return scratch.getBigUint64(0);
    case 2:
      for (const at of [0, 4])
        scratch.setFloat32(at, (random.below(2000) - 1000) / random.pick([1, 3, 8, 1e10, 1e-10]));
      return scratch.getBigUint64(0);
    default:
      return random.pick([
        0x7ff0000000000000n,
        0x7ff8000000000001n,
        0xfff0000000000000n,
        0x8000000000000000n,
        1n,
        0x000fffffffffffffn,
        0x7f8000007f800000n,
        0x7fc00001ffc00001n,
        0x8000000080000000n,
        0x0000000100000001n,
        0x7fa000017fa00001n,
        0x7ff4000000000001n,
      ]);
  }
}

/** Near branches go to TAKEN. */
function patchBranch(row: InsnRow, { bytes }: Encoded, codeSize: CodeSize): void {
  const spec = row.operands.find((o) => o.kind === 'J');
  if (spec === undefined) return;
  const view = new DataView(bytes.buffer);
  // A byte displacement cannot reach: it jumps behind the jump that follows, which is no place to be; left at 0.
  const distance = TAKEN_PADDR - (CODE_PADDR + bytes.length);
  if (spec.size !== 'z') return;
  if (codeSize === 2) view.setInt16(bytes.length - 2, distance, true);
  else if (bytes.length >= 5) view.setInt32(bytes.length - 4, distance, true);
}

/** Code and data segments as host-cpu.c has them. */
const SEGMENTS = {
  8: [
    { selector: 0x33, base: 0n, limit: 0xffffffff, rights: 0xa0fb },
    { selector: 0x2b, base: 0n, limit: 0xffffffff, rights: 0xc0f3 },
  ],
  4: [
    { selector: 0x23, base: 0n, limit: 0xffffffff, rights: 0xc0fb },
    { selector: 0x2b, base: 0n, limit: 0xffffffff, rights: 0xc0f3 },
  ],
  2: [
    { selector: 0x07, base: BigInt(CODE_PADDR), limit: 0xffff, rights: 0xfb },
    { selector: 0x0f, base: BigInt(DATA_PADDR), limit: 0xffff, rights: 0xf3 },
  ],
} as const;

/** Status word, TOP, tags, and where the last instruction was. */
const X87_STATE = [S_FPU_STATUS, S_FPU_TOP, S_FPU_EMPTY, S_FPU_IP];

/** Runs cases of one size of code on our own processor. */
export class CaseRunner {
  readonly #machine: BareMachine;
  /** RIP of linear address 0. */
  readonly #origin: number;
  readonly #code64: boolean;

  constructor(machine: BareMachine, codeSize: CodeSize = 8) {
    this.#machine = machine;
    this.#origin = codeSize === 2 ? -CODE_PADDR : 0;
    this.#code64 = codeSize === 8;
    const { memory, cpu, vcpu } = machine;
    const [code, flat] = SEGMENTS[codeSize];
    writeState(memory, cpu, {
      segments: [flat, code, flat, flat, flat, flat],
      cr0: 0x33n,
      cr4: 0x40600n,
      efer: 0x501n,
    });
    machine.keepOnly([
      [DATA_PADDR, 65536],
      [CODE_PADDR, 4096],
    ]);
    machine.set64(S_RIP, 0n);
    vcpu.core.updateKey(cpu);
  }

  /** The first thing in which the two disagree; `hot`: in the hot tier. */
  compare(c: Case, expected: Uint8Array, hot = false): Difference | undefined {
    this.load(c);
    this.#machine.run(hot);
    return this.#difference(
      c,
      new DataView(expected.buffer, expected.byteOffset, expected.byteLength),
    );
  }

  /** Runs a case; gives all that it left, in one text. */
  outcome(c: Case, hot: boolean): string {
    this.load(c);
    const { memory, cpu, ram, bytes, view } = this.#machine;
    this.#machine.run(hot);
    // A REP of billions, or one that leaves the memory: how far it came says nothing.
    if (this.#machine.endless || this.#machine.strayed) return 'cut off';
    const { regs, rip, rflags } = readState(memory, cpu);
    const rec = view.getUint32(cpu + S_REC, true);
    const at = Number(rip) + (rec === 0 ? 0 : view.getUint16(rec + REC_START, true));
    const list = (values: readonly bigint[]) => values.map((v) => v.toString(16)).join(' ');
    const xmm = new BigUint64Array(bytes.slice(cpu + S_XMM, cpu + S_XMM + 256).buffer);
    const fpu = new BigUint64Array(bytes.slice(cpu + S_FPU_REGS, cpu + S_FPU_REGS + 128).buffer);
    const data = ram + DATA_PADDR;
    const words = new BigUint64Array(bytes.slice(data, data + DATA_BYTES).buffer);
    return [
      `exception ${this.#machine.exception} rip ${at.toString(16)}`,
      `flags ${rflags.toString(16)} mxcsr ${view.getUint32(cpu + S_MXCSR, true).toString(16)}`,
      `registers ${list(regs)}`,
      `xmm ${list([...xmm])}`,
      `fpu ${list([...fpu])}`,
      `x87 ${X87_STATE.map((slot) => view.getUint32(cpu + slot, true).toString(16)).join(' ')}`,
      `memory ${list([...words])}`,
    ].join('\n');
  }

  load({ state, encoded }: Case): void {
    const { memory, cpu, ram, bytes, view, vcpu } = this.#machine;
    const given = new DataView(state.buffer);
    bytes.fill(0, ram + DATA_PADDR, ram + DATA_PADDR + 65536);
    bytes.set(state.subarray(STATE.data, STATE.data + DATA_BYTES), ram + DATA_PADDR);
    const code = ram + CODE_PADDR;
    // A case before may have written behind the code, where this one may read.
    vcpu.core.invalidateRange(cpu, CODE_PADDR, CODE_BYTES);
    bytes.fill(0, code, code + CODE_BYTES);
    bytes.set(encoded.bytes, code);
    bytes[code + encoded.bytes.length] = HLT;
    bytes[ram + TAKEN_PADDR] = HLT;
    writeState(memory, cpu, {
      regs: Array.from({ length: 16 }, (_, i) => given.getBigUint64(i * 8, true)),
      rflags: given.getBigUint64(STATE.flags, true) | 0x3000n,
      rip: BigInt(this.#origin + CODE_PADDR),
    });
    this.#machine.set32(S_HALTED, 0);
    this.#machine.set32(S_REC, 0);
    this.#machine.set64(S_ICOUNT, 0n);
    this.#machine.set32(S_MXCSR, given.getUint32(STATE.fx + 24, true));
    loadX87({ view, cpu }, given);
    bytes.set(state.subarray(STATE.fx + 160, STATE.fx + 416), cpu + S_XMM);
  }

  #difference(c: Case, host: DataView): Difference | undefined {
    const { cpu, view, memory, exception } = this.#machine;
    const report = (what: string, theirs: bigint | number, ours: bigint | number): Difference => ({
      row: `${c.row.opcode.toString(16)} ${c.row.name}`,
      bytes: [...c.encoded.bytes].map((b) => b.toString(16).padStart(2, '0')).join(' '),
      what,
      host: theirs.toString(16),
      ours: ours.toString(16),
    });
    if (isOpen(instruction(c))) return undefined;
    const faultedThere = host.getBigUint64(STATE.signal, true) === BigInt(SIGSEGV);
    if (this.#machine.strayed && faultedThere) return undefined;
    // HLT at CPL 3 raises #GP: that is the end of a case.
    const state = readState(memory, cpu);
    const rec = view.getUint32(cpu + S_REC, true);
    const rip = Number(state.rip) + (rec === 0 ? 0 : view.getUint16(rec + REC_START, true));
    const taken = rip === this.#origin + TAKEN_PADDR;
    const end = this.#origin + CODE_PADDR + c.encoded.bytes.length;
    const ended = exception === 13 && (taken || rip === end);
    const signal = ended ? 0 : (SIGNALS[exception] ?? 1000 + exception);
    const theirs = Number(host.getBigUint64(STATE.signal, true));
    if (signal !== theirs) return report('signal', theirs, signal);
    const went = Number(host.getBigUint64(STATE.rip, true));
    if (signal === 0 && went !== (taken ? 1 : 0)) return report('branch', went, taken ? 1 : 0);
    return (
      this.#registers(c, host, state.regs, report) ??
      this.#flagsAndMemory(c, host, state.rflags, report)
    );
  }

  #registers(
    c: Case,
    host: DataView,
    regs: readonly bigint[],
    report: Report,
  ): Difference | undefined {
    const bits = this.#code64 ? 64 : 32;
    for (let i = 0; i < (this.#code64 ? 16 : 8); i++) {
      const theirs = BigInt.asUintN(bits, host.getBigUint64(i * 8, true));
      const ours = BigInt.asUintN(bits, regs[i] ?? 0n);
      if (theirs !== ours && !isUndefinedRegister(c)) return report(`r${i}`, theirs, ours);
    }
    return undefined;
  }

  #flagsAndMemory(c: Case, host: DataView, rflags: bigint, report: Report): Difference | undefined {
    const { cpu, ram, view } = this.#machine;
    const insn = instruction(c);
    const mask = ARITHMETIC & ~(UNDEFINED[c.row.name] ?? 0n) & ~openFlags(insn);
    const theirFlags = host.getBigUint64(STATE.flags, true) & mask;
    const faulted = host.getBigUint64(STATE.signal, true) !== 0n;
    if (!faulted && theirFlags !== (rflags & mask))
      return report('flags', theirFlags, rflags & mask);
    for (let i = 0; i < DATA_BYTES; i += 8) {
      const theirs = host.getBigUint64(STATE.data + i, true);
      const ours = view.getBigUint64(ram + DATA_PADDR + i, true);
      if (theirs !== ours && !isOpenMemory(insn)) return report(`memory+${i}`, theirs, ours);
    }
    for (let i = 0; i < 32; i++) {
      const theirs = host.getBigUint64(STATE.fx + 160 + i * 8, true);
      const ours = view.getBigUint64(cpu + S_XMM + i * 8, true);
      if (theirs !== ours && !areOpenNans(c.row.name, theirs, ours))
        return report(`xmm${i >> 1}.${i & 1}`, theirs, ours);
    }
    const theirMxcsr = host.getUint32(STATE.fx + 24, true);
    const ourMxcsr = view.getUint32(cpu + S_MXCSR, true);
    if (theirMxcsr !== ourMxcsr) return report('mxcsr', theirMxcsr, ourMxcsr);
    const x87 = compareX87({ view, cpu }, host, c.row.name);
    return x87 === undefined ? undefined : report(...x87);
  }
}

function instruction({ row, encoded, codeSize }: Case) {
  return { name: row.name, bytes: encoded.bytes, codeSize };
}

type Report = (what: string, theirs: bigint | number, ours: bigint | number) => Difference;

/** BSWAP of a 16-bit register, and SHLD and SHRD of one by more than 16: the book leaves the result open. */
function isUndefinedRegister(c: Case): boolean {
  return (
    isNarrow(instruction(c)) &&
    (c.row.name === 'bswap' || c.row.name === 'shld' || c.row.name === 'shrd')
  );
}
