import { CONDITIONS, type InsnRow, insn, insnZ } from './insn.ts';

const STACK = { stack: true, default64: true };
/** 0F 0D and 18-1F with a ModRM byte do nothing and do not look at the operand: prefetches and hints, ENDBR64 among them. */
const HINTS = [0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f, 0x0d];

// Intel SDM vol. 2, appendix A.
export const MOVE: readonly InsnRow[] = [
  insn(0x88, 'mov', 'Eb Gb'),
  insn(0x89, 'mov', 'Ev Gv'),
  insn(0x8a, 'mov', 'Gb Eb'),
  insn(0x8b, 'mov', 'Gv Ev'),
  insn(0xa0, 'mov', 'AL Ob'),
  insn(0xa1, 'mov', 'rAX Ov'),
  insn(0xa2, 'mov', 'Ob AL'),
  insn(0xa3, 'mov', 'Ov rAX'),
  ...insnZ(0xb0, 'mov', 'Zb Ib'),
  ...insnZ(0xb8, 'mov', 'Zv Iv'),
  insn(0xc6, 'mov', 'Eb Ib', { reg: 0 }),
  insn(0xc7, 'mov', 'Ev Iz', { reg: 0 }),
  insn(0x0fb6, 'movzx', 'Gv Eb'),
  insn(0x0fb7, 'movzx', 'Gv Ew'),
  insn(0x0fbe, 'movsx', 'Gv Eb'),
  insn(0x0fbf, 'movsx', 'Gv Ew'),
  insn(0x63, 'movsx', 'Gv Ed', { only64: true, as: 'movsxd' }),
  insn(0x8d, 'lea', 'Gv M'),
  insn(0x86, 'xchg', 'Eb Gb', { lock: true }),
  insn(0x87, 'xchg', 'Ev Gv', { lock: true }),
  // 90 without REX.B is NOP, and F3 90 PAUSE: exchanging EAX with itself would clear the upper half.
  ...insnZ(0x90, 'xchgA', 'rAX Zv', { as: 'xchg' }),
  ...CONDITIONS.map((name, cc) =>
    insn(0x0f40 + cc, 'cmov', 'Gv Ev', { arg: cc, feature: 'cmov', as: `cmov${name}` }),
  ),
  ...CONDITIONS.map((name, cc) => insn(0x0f90 + cc, 'setcc', 'Eb', { arg: cc, as: `set${name}` })),
  ...insnZ(0x50, 'push', 'Zv', STACK),
  ...insnZ(0x58, 'pop', 'Zv', STACK),
  insn(0xff, 'push', 'Ev', { ...STACK, reg: 6 }),
  insn(0x8f, 'pop', 'Ev', { ...STACK, reg: 0 }),
  insn(0x68, 'push', 'Iz', STACK),
  insn(0x6a, 'push', 'Ibs', STACK),
  insn(0x60, 'pusha', '', { stack: true, not64: true, as: 'pushaw/pusha/pusha' }),
  insn(0x61, 'popa', '', { stack: true, not64: true, as: 'popaw/popa/popa' }),
  insn(0xc8, 'enter', 'Iw Ib', STACK),
  insn(0xc9, 'leave', '', STACK),
  insn(0xd7, 'xlat', '', { addrSize: true }),
  insn(0x0fc3, 'movnti', 'My Gy', { prefix: 'none', feature: 'sse2' }),
  ...HINTS.map((low) => insn(0x0f00 | low, 'nop', 'E')),
  insn(0x0fae, 'nop', '', { reg: 5, mod: 'reg', prefix: 'none', as: 'lfence' }),
  insn(0x0fae, 'nop', '', { reg: 6, mod: 'reg', prefix: 'none', as: 'mfence' }),
  insn(0x0fae, 'nop', '', { reg: 7, mod: 'reg', prefix: 'none', as: 'sfence' }),
  insn(0x0fae, 'clflush', 'Mb', { reg: 7, prefix: 'none', feature: 'clflush' }),
];
