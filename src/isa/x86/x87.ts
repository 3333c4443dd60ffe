import { type InsnOptions, type InsnRow, insn } from './insn.ts';

const SAVE = { mode: true, prefix: 'none' } as const;
const COMMON: InsnOptions = { unit: 'fpu', size: 4 };

/** D8 to DF with a memory operand. */
function mem(opcode: number, reg: number, name: string, operand: string, arg = 0): InsnRow {
  return insn(opcode, name, operand, { ...COMMON, reg, mod: 'mem', arg });
}

/** With a register of the stack in r/m. */
function st(opcode: number, reg: number, name: string, arg = 0): InsnRow {
  return insn(opcode, name, 'L', { ...COMMON, reg, mod: 'reg', arg });
}

/** With r/m as a part of the opcode. */
function plain(opcode: number, reg: number, rm: number, name: string, arg = 0): InsnRow {
  return insn(opcode, name, '', { ...COMMON, reg, rm, arg });
}

// FADD 0, FMUL 1, FSUB 4, FSUBR 5, FDIV 6, FDIVR 7: `arg` is ModRM.reg. Those to ST(i) compute ST(0) op ST(i) as well, so that the
// reversed ones are where the book has the others.
const ARITHMETIC = [0, 1, 4, 5, 6, 7].flatMap((op) => [
  mem(0xd8, op, 'farith_f32', 'Md', op),
  mem(0xdc, op, 'farith_f64', 'Mq', op),
  mem(0xda, op, 'farith_i32', 'Md', op),
  mem(0xde, op, 'farith_i16', 'Mw', op),
  st(0xd8, op, 'farith', op),
  st(0xdc, op, 'farith_to', op),
  st(0xde, op, 'farith_pop', op),
]);

// `arg`: registers popped.
const COMPARE = [
  ...[0, 1].flatMap((pops) => [
    mem(0xd8, 2 + pops, 'fcom_f32', 'Md', pops),
    mem(0xdc, 2 + pops, 'fcom_f64', 'Mq', pops),
    mem(0xda, 2 + pops, 'fcom_i32', 'Md', pops),
    mem(0xde, 2 + pops, 'fcom_i16', 'Mw', pops),
    st(0xd8, 2 + pops, 'fcom', pops),
    st(0xdc, 2 + pops, 'fcom', pops), // alias
    st(0xdd, 4 + pops, 'fucom', pops),
    st(pops ? 0xdf : 0xdb, 5, 'fucomi', pops),
    st(pops ? 0xdf : 0xdb, 6, 'fcomi', pops),
  ]),
  st(0xde, 2, 'fcom', 1), // alias
  insn(0xde, 'fcompp', '', { ...COMMON, reg: 3, rm: 1 }),
  insn(0xda, 'fucompp', '', { ...COMMON, reg: 5, rm: 1 }),
  plain(0xd9, 4, 4, 'ftst'),
  plain(0xd9, 4, 5, 'fxam'),
];

const LOAD = [
  mem(0xd9, 0, 'fld_f32', 'Md'),
  mem(0xdd, 0, 'fld_f64', 'Mq'),
  mem(0xdb, 5, 'fld_f80', 'Mt'),
  mem(0xdf, 0, 'fild', 'Mw'),
  mem(0xdb, 0, 'fild', 'Md'),
  mem(0xdf, 5, 'fild', 'Mq'),
  mem(0xdf, 4, 'fbld', 'Mt'),
  st(0xd9, 0, 'fld'),
  ...[0, 1, 2, 3, 4, 5, 6].map((rm) => plain(0xd9, 5, rm, 'fldconst', rm)),
];

// `arg`: 1 to pop; of integers 2 to cut (FISTTP).
const STORE = [
  mem(0xd9, 2, 'fst_f32', 'Md'),
  mem(0xd9, 3, 'fst_f32', 'Md', 1),
  mem(0xdd, 2, 'fst_f64', 'Mq'),
  mem(0xdd, 3, 'fst_f64', 'Mq', 1),
  mem(0xdb, 7, 'fst_f80', 'Mt'),
  mem(0xdf, 2, 'fist', 'Mw'),
  mem(0xdf, 3, 'fist', 'Mw', 1),
  mem(0xdb, 2, 'fist', 'Md'),
  mem(0xdb, 3, 'fist', 'Md', 1),
  mem(0xdf, 7, 'fist', 'Mq', 1),
  ...(['0xdf Mw', '0xdb Md', '0xdd Mq'] as const).map((form) => {
    const [opcode, operand = ''] = form.split(' ');
    return insn(Number(opcode), 'fist', operand, {
      ...COMMON,
      reg: 1,
      mod: 'mem',
      arg: 3,
      feature: 'sse3',
    });
  }),
  mem(0xdf, 6, 'fbstp', 'Mt'),
  st(0xdd, 2, 'fst'),
  st(0xdd, 3, 'fst', 1),
  st(0xd9, 3, 'fstp1'),
  st(0xdf, 2, 'fst', 1), // aliases
  st(0xdf, 3, 'fst', 1),
];

const MOVE = [
  st(0xd9, 1, 'fxch'),
  st(0xdd, 1, 'fxch'), // aliases
  st(0xdf, 1, 'fxch'),
  st(0xdd, 0, 'ffree'),
  st(0xdf, 0, 'ffree', 1), // FFREEP
  plain(0xd9, 6, 6, 'fturn', -1),
  plain(0xd9, 6, 7, 'fturn', 1),
  // B, E, BE, U and their opposites: `arg` is the condition as in Jcc.
  ...[2, 4, 6, 10].flatMap((cc, reg) => [
    insn(0xda, 'fcmov', 'L', { ...COMMON, reg, mod: 'reg', arg: cc, feature: 'cmov' }),
    insn(0xdb, 'fcmov', 'L', { ...COMMON, reg, mod: 'reg', arg: cc + 1, feature: 'cmov' }),
  ]),
];

const MATH = [
  plain(0xd9, 4, 0, 'fchs'),
  plain(0xd9, 4, 1, 'fabs'),
  plain(0xd9, 6, 4, 'fxtract'),
  plain(0xd9, 6, 5, 'fprem', 1),
  plain(0xd9, 7, 0, 'fprem'),
  plain(0xd9, 7, 2, 'fsqrt'),
  plain(0xd9, 7, 4, 'frndint'),
  plain(0xd9, 7, 5, 'fscale'),
  plain(0xd9, 6, 0, 'f2xm1'),
  plain(0xd9, 6, 1, 'fyl2x'),
  plain(0xd9, 7, 1, 'fyl2xp1'),
  plain(0xd9, 6, 3, 'fpatan'),
  plain(0xd9, 6, 2, 'fptan'),
  plain(0xd9, 7, 3, 'fsincos'),
  plain(0xd9, 7, 6, 'fsin'),
  plain(0xd9, 7, 7, 'fcos'),
];

const CONTROL = [
  plain(0xd9, 2, 0, 'fnop'),
  plain(0xdb, 4, 0, 'fnskip'), // FNENI, FNDISI, FNSETPM: nothing to do since the 387
  plain(0xdb, 4, 1, 'fnskip'),
  plain(0xdb, 4, 4, 'fnskip'),
  plain(0xdb, 4, 2, 'fnclex'),
  plain(0xdb, 4, 3, 'fninit'),
  mem(0xd9, 7, 'fnstcw', 'Mw'),
  mem(0xd9, 5, 'fldcw', 'Mw'),
  mem(0xdd, 7, 'fnstsw', 'Mw'),
  insn(0xdf, 'fnstsw', 'AX', { ...COMMON, reg: 4, rm: 0 }),
  insn(0xd9, 'fldenv', 'Menv', { reg: 4, mod: 'mem', unit: 'fpu' }),
  insn(0xd9, 'fnstenv', 'Menv', { reg: 6, mod: 'mem', unit: 'fpu' }),
  insn(0xdd, 'frstor', 'Mfpu', { reg: 4, mod: 'mem', unit: 'fpu' }),
  insn(0xdd, 'fnsave', 'Mfpu', { reg: 6, mod: 'mem', unit: 'fpu' }),
  insn(0x9b, 'fwait', '', { unit: 'wait', size: 4 }),
];

const EXTENDED = [
  insn(0x0fae, 'fxsave', 'M', { ...SAVE, reg: 0, mod: 'mem', feature: 'fxsr', unit: 'fpu' }),
  insn(0x0fae, 'fxrstor', 'M', { ...SAVE, reg: 1, mod: 'mem', feature: 'fxsr', unit: 'fpu' }),
  insn(0x0fae, 'ldmxcsr', 'Md', {
    prefix: 'none',
    reg: 2,
    mod: 'mem',
    feature: 'sse',
    unit: 'sse',
  }),
  insn(0x0fae, 'stmxcsr', 'Md', {
    prefix: 'none',
    reg: 3,
    mod: 'mem',
    feature: 'sse',
    unit: 'sse',
  }),
  insn(0x0fae, 'xsave', 'M', { ...SAVE, reg: 4, mod: 'mem', feature: 'xsave', unit: 'fpu' }),
  insn(0x0fae, 'xrstor', 'M', { ...SAVE, reg: 5, mod: 'mem', feature: 'xsave', unit: 'fpu' }),
  insn(0x0fae, 'xsave', 'M', {
    ...SAVE,
    reg: 6,
    mod: 'mem',
    feature: 'xsave',
    unit: 'fpu',
    as: 'xsaveopt',
  }),
  insn(0x0f01, 'xgetbv', '', { reg: 2, rm: 0, feature: 'xsave' }),
  insn(0x0f01, 'xsetbv', '', { reg: 2, rm: 1, feature: 'xsave' }),
];

// Intel SDM vol. 2, appendix A.6.
export const X87: readonly InsnRow[] = [
  ...ARITHMETIC,
  ...COMPARE,
  ...LOAD,
  ...STORE,
  ...MOVE,
  ...MATH,
  ...CONTROL,
  ...EXTENDED,
];
