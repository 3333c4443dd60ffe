import { type InsnRow, insn, insnZ } from './insn.ts';

const LOCK = { lock: true };
/** Group 2 in the order of ModRM.reg; 6 is an undocumented second SHL. */
const GROUP2 = ['rol', 'ror', 'rcl', 'rcr', 'shl', 'shr', 'shl', 'sar'];
/** Group 8: BT, BTS, BTR, BTC. */
const GROUP8 = ['bt', 'bts', 'btr', 'btc'];

// Intel SDM vol. 2, appendix A.
export const BITS: readonly InsnRow[] = [
  ...GROUP2.flatMap((name, reg) => [
    insn(0xc0, name, 'Eb Ib', { reg }),
    insn(0xc1, name, 'Ev Ib', { reg }),
    insn(0xd0, name, 'Eb 1', { reg }),
    insn(0xd1, name, 'Ev 1', { reg }),
    insn(0xd2, name, 'Eb CL', { reg }),
    insn(0xd3, name, 'Ev CL', { reg }),
  ]),
  insn(0x0fa4, 'shld', 'Ev Gv Ib'),
  insn(0x0fa5, 'shld', 'Ev Gv CL'),
  insn(0x0fac, 'shrd', 'Ev Gv Ib'),
  insn(0x0fad, 'shrd', 'Ev Gv CL'),
  ...GROUP8.flatMap((name, i) => [
    insn(0x0fa3 + i * 8, name, 'Ev Gv', i === 0 ? {} : LOCK),
    insn(0x0fba, name, 'Ev Ib', { reg: 4 + i, ...(i === 0 ? {} : LOCK) }),
  ]),
  insn(0x0fbc, 'bsf', 'Gv Ev'),
  insn(0x0fbd, 'bsr', 'Gv Ev'),
  insn(0x0fb8, 'popcnt', 'Gv Ev', { prefix: 0xf3, feature: 'popcnt' }),
  ...insnZ(0x0fc8, 'bswap', 'Zv'),
  insn(0x0f38f0, 'crc32', 'Gy Eb', { prefix: 0xf2, feature: 'sse4.2' }),
  insn(0x0f38f1, 'crc32', 'Gy Ev', { prefix: 0xf2, feature: 'sse4.2' }),
  insn(0xf5, 'cmc'),
  insn(0xf8, 'clc'),
  insn(0xf9, 'stc'),
  insn(0x9e, 'sahf', '', { feature: 'lahf64', only64: true }),
  insn(0x9e, 'sahf', '', { not64: true }),
  insn(0x9f, 'lahf', '', { feature: 'lahf64', only64: true }),
  insn(0x9f, 'lahf', '', { not64: true }),
  insn(0xfc, 'cld'),
  insn(0xfd, 'std'),
  insn(0xd6, 'salc', '', { not64: true }),
];
