import { type InsnRow, insn } from './insn.ts';

const SAVE = { mode: true, prefix: 'none' } as const;

// Intel SDM vol. 2, appendix A.
export const X87: readonly InsnRow[] = [
  insn(0xdb, 'fninit', '', { reg: 4, rm: 3, unit: 'fpu' }),
  insn(0xd9, 'fnstcw', 'Mw', { reg: 7, mod: 'mem', unit: 'fpu' }),
  insn(0xd9, 'fldcw', 'Mw', { reg: 5, mod: 'mem', unit: 'fpu' }),
  insn(0xdd, 'fnstsw', 'Mw', { reg: 7, mod: 'mem', unit: 'fpu' }),
  insn(0xdf, 'fnstsw', 'AX', { reg: 4, rm: 0, unit: 'fpu' }),
  insn(0x9b, 'fwait', '', { unit: 'wait' }),
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
