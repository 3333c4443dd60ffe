import { type InsnRow, insn, insnZ } from './insn.ts';

const LOCK = { lock: true };
/** The eight operations that share the opcode layout of 00-3F and group 1, in the order of their numbers. */
const GROUP1 = ['add', 'or', 'adc', 'sbb', 'and', 'sub', 'xor', 'cmp'];

function group1(name: string, n: number): InsnRow[] {
  // CMP does not write, so LOCK is not for it.
  const options = name === 'cmp' ? {} : LOCK;
  const base = n * 8;
  return [
    insn(base, name, 'Eb Gb', options),
    insn(base + 1, name, 'Ev Gv', options),
    insn(base + 2, name, 'Gb Eb'),
    insn(base + 3, name, 'Gv Ev'),
    insn(base + 4, name, 'AL Ib'),
    insn(base + 5, name, 'rAX Iz'),
    insn(0x80, name, 'Eb Ib', { ...options, reg: n }),
    insn(0x81, name, 'Ev Iz', { ...options, reg: n }),
    insn(0x82, name, 'Eb Ib', { ...options, reg: n, not64: true }),
    insn(0x83, name, 'Ev Ibs', { ...options, reg: n }),
  ];
}

// Intel SDM vol. 2, appendix A.
export const ARITH: readonly InsnRow[] = [
  ...GROUP1.flatMap(group1),
  insn(0x84, 'test', 'Eb Gb'),
  insn(0x85, 'test', 'Ev Gv'),
  insn(0xa8, 'test', 'AL Ib'),
  insn(0xa9, 'test', 'rAX Iz'),
  insn(0xf6, 'test', 'Eb Ib', { reg: 0 }),
  insn(0xf6, 'test', 'Eb Ib', { reg: 1 }),
  insn(0xf7, 'test', 'Ev Iz', { reg: 0 }),
  insn(0xf7, 'test', 'Ev Iz', { reg: 1 }),
  insn(0xf6, 'not', 'Eb', { reg: 2, lock: true }),
  insn(0xf7, 'not', 'Ev', { reg: 2, lock: true }),
  insn(0xf6, 'neg', 'Eb', { reg: 3, lock: true }),
  insn(0xf7, 'neg', 'Ev', { reg: 3, lock: true }),
  insn(0xf6, 'mul', 'Eb', { reg: 4 }),
  insn(0xf7, 'mul', 'Ev', { reg: 4 }),
  insn(0xf6, 'imul1', 'Eb', { reg: 5, as: 'imul' }),
  insn(0xf7, 'imul1', 'Ev', { reg: 5, as: 'imul' }),
  insn(0xf6, 'div', 'Eb', { reg: 6 }),
  insn(0xf7, 'div', 'Ev', { reg: 6 }),
  insn(0xf6, 'idiv', 'Eb', { reg: 7 }),
  insn(0xf7, 'idiv', 'Ev', { reg: 7 }),
  insn(0x0faf, 'imul', 'Gv Ev'),
  insn(0x69, 'imul3', 'Gv Ev Iz', { as: 'imul' }),
  insn(0x6b, 'imul3', 'Gv Ev Ibs', { as: 'imul' }),
  insn(0xfe, 'inc', 'Eb', { reg: 0, lock: true }),
  insn(0xff, 'inc', 'Ev', { reg: 0, lock: true }),
  insn(0xfe, 'dec', 'Eb', { reg: 1, lock: true }),
  insn(0xff, 'dec', 'Ev', { reg: 1, lock: true }),
  ...insnZ(0x40, 'inc', 'Zv', { not64: true }),
  ...insnZ(0x48, 'dec', 'Zv', { not64: true }),
  insn(0x98, 'cbw', '', { as: 'cbw/cwde/cdqe' }),
  insn(0x99, 'cwd', '', { as: 'cwd/cdq/cqo' }),
  insn(0x0fc0, 'xadd', 'Eb Gb', LOCK),
  insn(0x0fc1, 'xadd', 'Ev Gv', LOCK),
  insn(0x0fb0, 'cmpxchg', 'Eb Gb', LOCK),
  insn(0x0fb1, 'cmpxchg', 'Ev Gv', LOCK),
  insn(0x0fc7, 'cmpxchg8b', 'Mq', { reg: 1, lock: true, w: 0, feature: 'cx8' }),
  insn(0x0fc7, 'cmpxchg16b', 'Mdq', { reg: 1, lock: true, w: 1, feature: 'cx16' }),
  insn(0x27, 'daa', '', { not64: true }),
  insn(0x2f, 'das', '', { not64: true }),
  insn(0x37, 'aaa', '', { not64: true }),
  insn(0x3f, 'aas', '', { not64: true }),
  insn(0xd4, 'aam', 'Ib', { not64: true }),
  insn(0xd5, 'aad', 'Ib', { not64: true }),
];
