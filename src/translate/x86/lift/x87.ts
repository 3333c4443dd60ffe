import type { Inst } from '#ir/block.ts';
import { S_FPU_CONTROL, S_MXCSR } from '#ir/state.ts';
import type { Lift, Lifter } from '../lifter.ts';

// One call of core/ each. Operands are loaded here; stores are up to the helper, because an exception may keep them from
// happening and the stack is popped only after them.

/** How ST(0) op ST(i) ends: the helper's `mode`. */
const TO_STI = 1;
const POP = 2;

function area(name: string): Lift {
  return (x: Lifter) => {
    const mode = (x.opSize === 8 ? 1 : 0) | (x.cx.codeSize === 8 ? 2 : 0);
    x.call(name, [x.address(), x.const32(mode)]);
  };
}

/** The 8087's formats, of 16 or 32 bits. */
function environment(name: string): Lift {
  return (x) => void x.call(name, [x.address(), x.const32(x.opSize === 2 ? 2 : 4)]);
}

function plain(name: string, ...args: number[]): Lift {
  return (x) =>
    void x.call(
      name,
      args.map((arg) => x.const32(arg)),
    );
}

function arithmetic(mode: number): Lift {
  return (x) => void x.call('x87_arith', [x.const32(x.arg), x.imm(0), x.const32(mode)]);
}

/** A memory operand of 2 or 4 bytes as a signed integer. */
function signed(x: Lifter): Inst {
  return x.sext(x.read(0), x.size);
}

/** FUCOM and FCOM, or with flags FUCOMI and FCOMI. */
function compare(helper: string, quiet: number): Lift {
  return (x) => void x.call(helper, [x.imm(0), x.const32(quiet), x.const32(x.arg)]);
}

/** Ten bytes: eight as i64, two as i32. */
function tenBytes(x: Lifter): [Inst, Inst] {
  const at = x.address();
  const low = x.load(at, 8);
  return [low, x.load(x.op('i64.add', [at, x.const64(8)]), 2)];
}

/** A helper that takes the address, and whether to pop. */
function storing(helper: string): Lift {
  return (x) => void x.call(helper, [x.address(), x.const32(x.arg)]);
}

function liftFist(x: Lifter): void {
  x.call('x87_st_int', [x.address(), x.const32(x.size * 8), x.const32(x.arg)]);
}

function liftFcmov(x: Lifter): void {
  x.call('x87_move_if', [x.imm(0), x.cond(x.arg)]);
}

export const X87_LIFTS: Record<string, Lift> = {
  farith: arithmetic(0),
  farith_to: arithmetic(TO_STI),
  farith_pop: arithmetic(TO_STI | POP),
  farith_f64: (x) => void x.call('x87_arith_f64', [x.const32(x.arg), x.read(0)]),
  farith_f32: (x) => void x.call('x87_arith_f32', [x.const32(x.arg), x.read(0)]),
  farith_i32: (x) => void x.call('x87_arith_int', [x.const32(x.arg), signed(x)]),
  farith_i16: (x) => void x.call('x87_arith_int', [x.const32(x.arg), signed(x)]),
  fcom: compare('x87_compare', 0),
  fucom: compare('x87_compare', 1),
  fcomi: compare('x87_compare_flags', 0),
  fucomi: compare('x87_compare_flags', 1),
  fcompp: plain('x87_compare', 1, 0, 2),
  fucompp: plain('x87_compare', 1, 1, 2),
  fcom_f64: (x) => void x.call('x87_compare_f64', [x.read(0), x.const32(x.arg)]),
  fcom_f32: (x) => void x.call('x87_compare_f32', [x.read(0), x.const32(x.arg)]),
  fcom_i32: (x) => void x.call('x87_compare_int', [signed(x), x.const32(x.arg)]),
  fcom_i16: (x) => void x.call('x87_compare_int', [signed(x), x.const32(x.arg)]),
  ftst: plain('x87_test'),
  fxam: plain('x87_examine'),
  fld_f32: (x) => void x.call('x87_load_f32', [x.read(0)]),
  fld_f64: (x) => void x.call('x87_load_f64', [x.read(0)]),
  fld_f80: (x) => void x.call('x87_load_f80', tenBytes(x)),
  fbld: (x) => void x.call('x87_load_bcd', tenBytes(x)),
  fild: (x) => void x.call('x87_load_int', [x.signExtend(x.read(0), x.size, 8)]),
  fld: (x) => void x.call('x87_load_st', [x.imm(0)]),
  fldconst: (x) => void x.call('x87_load_constant', [x.const32(x.arg)]),
  fst_f32: storing('x87_st_f32'),
  fst_f64: storing('x87_st_f64'),
  fst_f80: (x) => void x.call('x87_st_f80', [x.address()]),
  fist: liftFist,
  fbstp: (x) => void x.call('x87_st_bcd', [x.address()]),
  fst: (x) => void x.call('x87_move', [x.imm(0), x.const32(x.arg)]),
  fstp1: (x) => void x.call('x87_move_quiet', [x.imm(0)]),
  fxch: (x) => void x.call('x87_exchange', [x.imm(0)]),
  ffree: (x) => void x.call('x87_free', [x.imm(0), x.const32(x.arg)]),
  fturn: (x) => void x.call('x87_turn', [x.const32(x.arg)]),
  fcmov: liftFcmov,
  fchs: plain('x87_sign', 0xffff, 0x8000),
  fabs: plain('x87_sign', 0x7fff, 0),
  fxtract: plain('x87_extract'),
  fprem: (x) => void x.call('x87_remainder', [x.const32(x.arg)]),
  fsqrt: plain('x87_sqrt'),
  frndint: plain('x87_round'),
  fscale: plain('x87_scale'),
  f2xm1: plain('x87_exponential'),
  fyl2x: plain('x87_binary', 0),
  fyl2xp1: plain('x87_binary', 1),
  fpatan: plain('x87_binary', 2),
  fsin: plain('x87_trigonometry', 0),
  fcos: plain('x87_trigonometry', 1),
  fsincos: plain('x87_trigonometry', 2),
  fptan: plain('x87_trigonometry', 3),
  fnop: plain('x87_nop'),
  fnskip: () => {},
  fnclex: plain('fnclex'),
  fninit: plain('fninit'),
  fnstcw: (x) => x.write(0, x.reg(S_FPU_CONTROL, 2)),
  fldcw: (x) => void x.call('x87_load_control', [x.read(0)]),
  fnstsw: (x) => x.write(0, x.call('x87_status')),
  fldenv: environment('fldenv'),
  fnstenv: environment('fnstenv'),
  frstor: environment('frstor'),
  fnsave: environment('fnsave'),
  fwait: plain('x87_wait'),
  fxsave: area('fxsave'),
  fxrstor: area('fxrstor'),
  ldmxcsr: (x) => void x.call('ldmxcsr', [x.read(0)]),
  stmxcsr: (x) => x.write(0, x.reg(S_MXCSR, 4)),
  xsave: area('xsave'),
  xrstor: area('xrstor'),
  xgetbv: (x) => void x.call('xgetbv'),
  xsetbv: (x) => void x.call('xsetbv'),
};
