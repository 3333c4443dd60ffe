import { type InsnOptions, type InsnRow, insn } from './insn.ts';

const SAVE = { mode: true, prefix: 'none' } as const;
const COMMON: InsnOptions = { unit: 'fpu', size: 4 };

/** D8 to DF with a memory operand. */
function mem(
  opcode: number,
  reg: number,
  name: string,
  operand: string,
  arg = 0,
  as = name,
): InsnRow {
  return insn(opcode, name, operand, { ...COMMON, reg, mod: 'mem', arg, as });
}

/** With a register of the stack in r/m. */
function st(opcode: number, reg: number, name: string, arg = 0, as = name): InsnRow {
  return insn(opcode, name, 'L', { ...COMMON, reg, mod: 'reg', arg, as });
}

/** With r/m as a part of the opcode. */
function plain(opcode: number, reg: number, rm: number, name: string, arg = 0, as = name): InsnRow {
  return insn(opcode, name, '', { ...COMMON, reg, rm, arg, as });
}

// FADD 0, FMUL 1, FSUB 4, FSUBR 5, FDIV 6, FDIVR 7: `arg` is ModRM.reg. Those to ST(i) compute ST(0) op ST(i) as well, so that the
// reversed ones are where the book has the others.
const ARITHMETIC = [
  { op: 0, as: 'add', to: 'add' },
  { op: 1, as: 'mul', to: 'mul' },
  { op: 4, as: 'sub', to: 'subr' },
  { op: 5, as: 'subr', to: 'sub' },
  { op: 6, as: 'div', to: 'divr' },
  { op: 7, as: 'divr', to: 'div' },
].flatMap(({ op, as, to }) => [
  mem(0xd8, op, 'farith_f32', 'Md', op, `f${as}`),
  mem(0xdc, op, 'farith_f64', 'Mq', op, `f${as}`),
  mem(0xda, op, 'farith_i32', 'Md', op, `fi${as}`),
  mem(0xde, op, 'farith_i16', 'Mw', op, `fi${as}`),
  st(0xd8, op, 'farith', op, `f${as}`),
  st(0xdc, op, 'farith_to', op, `f${to}`),
  st(0xde, op, 'farith_pop', op, `f${to}p`),
]);

// `arg`: registers popped.
const COMPARE = [
  ...['', 'p'].flatMap((p, pops) => [
    mem(0xd8, 2 + pops, 'fcom_f32', 'Md', pops, `fcom${p}`),
    mem(0xdc, 2 + pops, 'fcom_f64', 'Mq', pops, `fcom${p}`),
    mem(0xda, 2 + pops, 'fcom_i32', 'Md', pops, `ficom${p}`),
    mem(0xde, 2 + pops, 'fcom_i16', 'Mw', pops, `ficom${p}`),
    st(0xd8, 2 + pops, 'fcom', pops, `fcom${p}`),
    st(0xdc, 2 + pops, 'fcom', pops, `fcom${p}`), // alias
    st(0xdd, 4 + pops, 'fucom', pops, `fucom${p}`),
    st(pops ? 0xdf : 0xdb, 5, 'fucomi', pops, `fucomi${p}`),
    st(pops ? 0xdf : 0xdb, 6, 'fcomi', pops, `fcomi${p}`),
  ]),
  st(0xde, 2, 'fcom', 1, 'fcomp'), // alias
  insn(0xde, 'fcompp', '', { ...COMMON, reg: 3, rm: 1 }),
  insn(0xda, 'fucompp', '', { ...COMMON, reg: 5, rm: 1 }),
  plain(0xd9, 4, 4, 'ftst'),
  plain(0xd9, 4, 5, 'fxam'),
];

const LOAD = [
  mem(0xd9, 0, 'fld_f32', 'Md', 0, 'fld'),
  mem(0xdd, 0, 'fld_f64', 'Mq', 0, 'fld'),
  mem(0xdb, 5, 'fld_f80', 'Mt', 0, 'fld'),
  mem(0xdf, 0, 'fild', 'Mw'),
  mem(0xdb, 0, 'fild', 'Md'),
  mem(0xdf, 5, 'fild', 'Mq'),
  mem(0xdf, 4, 'fbld', 'Mt'),
  st(0xd9, 0, 'fld'),
  ...['1', 'l2t', 'l2e', 'pi', 'lg2', 'ln2', 'z'].map((constant, rm) =>
    plain(0xd9, 5, rm, 'fldconst', rm, `fld${constant}`),
  ),
];

// `arg`: 1 to pop; of integers 2 to cut (FISTTP).
const STORE = [
  mem(0xd9, 2, 'fst_f32', 'Md', 0, 'fst'),
  mem(0xd9, 3, 'fst_f32', 'Md', 1, 'fstp'),
  mem(0xdd, 2, 'fst_f64', 'Mq', 0, 'fst'),
  mem(0xdd, 3, 'fst_f64', 'Mq', 1, 'fstp'),
  mem(0xdb, 7, 'fst_f80', 'Mt', 0, 'fstp'),
  mem(0xdf, 2, 'fist', 'Mw'),
  mem(0xdf, 3, 'fist', 'Mw', 1, 'fistp'),
  mem(0xdb, 2, 'fist', 'Md'),
  mem(0xdb, 3, 'fist', 'Md', 1, 'fistp'),
  mem(0xdf, 7, 'fist', 'Mq', 1, 'fistp'),
  ...(['0xdf Mw', '0xdb Md', '0xdd Mq'] as const).map((form) => {
    const [opcode, operand = ''] = form.split(' ');
    return insn(Number(opcode), 'fist', operand, {
      ...COMMON,
      reg: 1,
      mod: 'mem',
      arg: 3,
      feature: 'sse3',
      as: 'fisttp',
    });
  }),
  mem(0xdf, 6, 'fbstp', 'Mt'),
  st(0xdd, 2, 'fst'),
  st(0xdd, 3, 'fst', 1, 'fstp'),
  st(0xd9, 3, 'fstp1', 0, 'fstp'),
  st(0xdf, 2, 'fst', 1, 'fstp'), // aliases
  st(0xdf, 3, 'fst', 1, 'fstp'),
];

const MOVE = [
  st(0xd9, 1, 'fxch'),
  st(0xdd, 1, 'fxch'), // aliases
  st(0xdf, 1, 'fxch'),
  st(0xdd, 0, 'ffree'),
  st(0xdf, 0, 'ffree', 1, 'ffreep'),
  plain(0xd9, 6, 6, 'fturn', -1, 'fdecstp'),
  plain(0xd9, 6, 7, 'fturn', 1, 'fincstp'),
  // B, E, BE, U and their opposites: `arg` is the condition as in Jcc.
  ...[2, 4, 6, 10].flatMap((cc, reg) => {
    const as = `${['b', 'e', 'be', 'u'][reg]}`;
    const common: InsnOptions = { ...COMMON, reg, mod: 'reg', feature: 'cmov' };
    return [
      insn(0xda, 'fcmov', 'L', { ...common, arg: cc, as: `fcmov${as}` }),
      insn(0xdb, 'fcmov', 'L', { ...common, arg: cc + 1, as: `fcmovn${as}` }),
    ];
  }),
];

const MATH = [
  plain(0xd9, 4, 0, 'fchs'),
  plain(0xd9, 4, 1, 'fabs'),
  plain(0xd9, 6, 4, 'fxtract'),
  plain(0xd9, 6, 5, 'fprem', 1, 'fprem1'),
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
  plain(0xdb, 4, 0, 'fnskip', 0, 'fneni'), // nothing to do since the 387
  plain(0xdb, 4, 1, 'fnskip', 0, 'fndisi'),
  plain(0xdb, 4, 4, 'fnskip', 0, 'fnsetpm'),
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
