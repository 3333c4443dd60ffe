import { CONDITIONS, type InsnRow, insn } from './insn.ts';

const NEAR = { force64: true };
const NEAR_STACK = { force64: true, stack: true };

// Near branches. Intel SDM vol. 2, appendix A.
export const FLOW: readonly InsnRow[] = [
  ...CONDITIONS.map((name, cc) =>
    insn(0x70 + cc, 'jcc', 'Jb', { ...NEAR, arg: cc, as: `j${name}` }),
  ),
  ...CONDITIONS.map((name, cc) =>
    insn(0x0f80 + cc, 'jcc', 'Jz', { ...NEAR, arg: cc, as: `j${name}` }),
  ),
  insn(0xe9, 'jmp', 'Jz', NEAR),
  insn(0xeb, 'jmp', 'Jb', NEAR),
  insn(0xff, 'jmpInd', 'Ev', { ...NEAR, reg: 4, as: 'jmp' }),
  insn(0xe8, 'call', 'Jz', NEAR_STACK),
  insn(0xff, 'callInd', 'Ev', { ...NEAR_STACK, reg: 2, as: 'call' }),
  insn(0xc3, 'ret', '', NEAR_STACK),
  insn(0xc2, 'ret', 'Iw', NEAR_STACK),
  insn(0xe0, 'loop', 'Jb', { ...NEAR, addrSize: true, arg: 5, as: 'loopne' }),
  insn(0xe1, 'loop', 'Jb', { ...NEAR, addrSize: true, arg: 4, as: 'loope' }),
  insn(0xe2, 'loop', 'Jb', { ...NEAR, addrSize: true, arg: -1 }),
  insn(0xe3, 'jcxz', 'Jb', { ...NEAR, addrSize: true }),
  insn(0x62, 'bound', 'Gv Ma', { not64: true }),
];
