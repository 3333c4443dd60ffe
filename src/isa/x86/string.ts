import { type InsnRow, insn } from './insn.ts';

const STRING_OPTIONS = { rep: true, addrSize: true };

function pair(opcode: number, name: string): InsnRow[] {
  return [
    insn(opcode, name, '', { ...STRING_OPTIONS, arg: 1 }),
    insn(opcode + 1, name, '', { ...STRING_OPTIONS, arg: 0 }),
  ];
}

// String instructions; `arg` is 1 for bytes, 0 for the operand size. Intel SDM vol. 2, appendix A.
export const STRING: readonly InsnRow[] = [
  ...pair(0xa4, 'movs'),
  ...pair(0xa6, 'cmps'),
  ...pair(0xaa, 'stos'),
  ...pair(0xac, 'lods'),
  ...pair(0xae, 'scas'),
  ...pair(0x6c, 'ins'),
  ...pair(0x6e, 'outs'),
];
