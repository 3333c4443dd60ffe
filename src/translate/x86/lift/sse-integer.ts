import type { Inst } from '#ir/block.ts';
import type { Lift, Lifter } from '../lifter.ts';
import {
  binary,
  binaryOp,
  dwords,
  isMmx,
  joinLow,
  low64,
  read,
  shuffleBy,
  unary,
  unaryOp,
  words,
  write,
  zero,
} from './sse-operands.ts';

/** The shift count, and whether it is past the width: of a byte, or of the low 64 bits of a register. */
function shiftCount(x: Lifter, width: number): { count: Inst; big: Inst } {
  if (x.binding(1).kind === 'imm') {
    const count = x.op('i32.and', [x.imm(1), x.const32(0xff)]);
    return { count, big: x.op('i32.gt_u', [count, x.const32(width - 1)]) };
  }
  const wide = low64(x, read(x, 1));
  return {
    count: x.op('i32.wrap_i64', [wide]),
    big: x.op('i64.gt_u', [wide, x.const64(width - 1)]),
  };
}

/** PSLLx, PSRLx, PSRAx. A count past the width clears, or fills with the sign. */
function shift(shape: string, direction: 'shl' | 'shr_u' | 'shr_s', width: number): Lift {
  return (x) => {
    const { count, big } = shiftCount(x, width);
    const value = read(x, 0);
    if (direction === 'shr_s') {
      write(
        x,
        0,
        x.op(`${shape}.${direction}`, [value, x.select(big, x.const32(width - 1), count)]),
      );
      return;
    }
    const shifted = x.op(`${shape}.${direction}`, [value, count]);
    write(x, 0, x.op('v128.select', [big, zero(x), shifted]));
  };
}

/** High halves of the products of eight words. */
function mulHigh(sign: 's' | 'u'): Lift {
  return binary((x, a, b) => {
    const low = x.op(`i32x4.extmul_low_i16x8_${sign}`, [a, b]);
    const high = x.op(`i32x4.extmul_high_i16x8_${sign}`, [a, b]);
    return shuffleBy(x, 2, low, high, [1, 3, 5, 7, 9, 11, 13, 15]);
  });
}

/** Products of the even doublewords. */
function mulEven(sign: 's' | 'u'): Lift {
  return binary((x, a, b) => {
    const even = (v: Inst) => shuffleBy(x, 4, v, v, [0, 2, 0, 2]);
    return x.op(`i64x2.extmul_low_i32x4_${sign}`, [even(a), even(b)]);
  });
}

/** Unsigned bytes of `a` times signed ones of `b`, neighbours added with saturation. */
const liftPmaddubsw = binary((x, a, b) => {
  const eight = x.const32(8);
  const evenA = x.op('v128.and', [a, words(x, new Array<number>(8).fill(0xff))]);
  const evenB = x.op('i16x8.shr_s', [x.op('i16x8.shl', [b, eight]), eight]);
  const even = x.op('i16x8.mul', [evenA, evenB]);
  const odd = x.op('i16x8.mul', [x.op('i16x8.shr_u', [a, eight]), x.op('i16x8.shr_s', [b, eight])]);
  return x.op('i16x8.add_sat_s', [even, odd]);
});

/** q15mulr saturates -1 × -1 to 0x7fff; PMULHRSW wraps to 0x8000. */
const liftPmulhrsw = binary((x, a, b) => {
  const least = words(x, new Array<number>(8).fill(0x8000));
  const wraps = x.op('v128.and', [x.op('i16x8.eq', [a, least]), x.op('i16x8.eq', [b, least])]);
  return x.op('v128.xor', [x.op('i16x8.q15mulr_sat_s', [a, b]), wraps]);
});

const liftPsadbw = binary((x, a, b) => {
  const difference = x.op('i8x16.sub', [x.op('i8x16.max_u', [a, b]), x.op('i8x16.min_u', [a, b])]);
  const pairs = x.op('i16x8.extadd_pairwise_i8x16_u', [difference]);
  const fours = x.op('i32x4.extadd_pairwise_i16x8_u', [pairs]);
  const sums = x.op('i64x2.add', [fours, x.op('i64x2.shr_u', [fours, x.const32(32)])]);
  return x.op('v128.and', [sums, dwords(x, [0xffff, 0, 0xffff, 0])]);
});

function sign(shape: string): Lift {
  return binary((x, a, b) => {
    const none = zero(x);
    const negated = x.op(`${shape}.neg`, [a]);
    const value = x.op('v128.bitselect', [negated, a, x.op(`${shape}.lt_s`, [b, none])]);
    return x.op('v128.andnot', [value, x.op(`${shape}.eq`, [b, none])]);
  });
}

/** PHADDx and PHSUBx: neighbours of both operands combined. */
function horizontal(name: string, size: 2 | 4): Lift {
  return binary((x, a, b) => {
    const mmx = isMmx(x, 0);
    const first = mmx ? joinLow(x, a, b) : a;
    const second = mmx ? first : b;
    const count = 16 / size;
    const even = Array.from({ length: count }, (_, i) => 2 * i);
    const left = shuffleBy(x, size, first, second, even);
    const right = shuffleBy(
      x,
      size,
      first,
      second,
      even.map((i) => i + 1),
    );
    return x.op(name, [left, right]);
  });
}

/** PMOVSXxx and PMOVZXxx: one extension after another. */
function extend(suffix: 's' | 'u', ...steps: readonly string[]): Lift {
  return unary((x, b) => steps.reduce((value, step) => x.op(`${step}_${suffix}`, [value]), b));
}

const BW = 'i16x8.extend_low_i8x16';
const WD = 'i32x4.extend_low_i16x8';
const DQ = 'i64x2.extend_low_i32x4';

/** ZF: no common bit; CF: no bit of the source outside the destination; the others are cleared (SDM vol. 2, PTEST). */
const liftPtest: Lift = (x) => {
  const b = read(x, 1);
  const a = read(x, 0);
  const common = x.op('v128.any_true', [x.op('v128.and', [a, b])]);
  const outside = x.op('v128.any_true', [x.op('v128.andnot', [b, a])]);
  setZeroAndCarry(x, common, outside);
};

/** ZF = !notZero, CF = !notCarry (both 0 or 1); OF SF AF PF = 0, in the form of ir/state.ts. */
function setZeroAndCarry(x: Lifter, notZero: Inst, notCarry: Inst): void {
  const carry = x.op('i64.extend_i32_u', [x.op('i32.eqz', [notCarry])]);
  // Bits 63 and 62: CF, and OF clear. Bit 8: PF of the result 0 would be 1.
  const carryBits = x.op('i64.shl', [x.op('i64.mul', [carry, x.const64(3)]), x.const64(62)]);
  const zeroBit = x.op('i64.extend_i32_u', [x.op('i32.eqz', [notZero])]);
  const aux = x.op('i64.or', [carryBits, x.op('i64.shl', [zeroBit, x.const64(8)])]);
  x.op('set_flags_raw', [x.op('i64.extend_i32_u', [notZero]), aux]);
}

/** A helper of core/ that takes both operands, and the immediate where there is one. */
function helper(name: string): Lift {
  return (x) => {
    const b = read(x, 1);
    const a = read(x, 0);
    write(x, 0, x.call(name, [a, b, x.op('i32.and', [x.imm(2), x.const32(0xff)])]));
  };
}

/** AESENC and the like; `last`: without the mixing of columns. */
function aes(name: string, last: number): Lift {
  return binary((x, a, b) => x.call(name, [a, b, x.const32(last)]));
}

const liftAesKeygenAssist: Lift = (x) => {
  const b = read(x, 1);
  write(x, 0, x.call('sse_aeskeygenassist', [b, x.op('i32.and', [x.imm(2), x.const32(0xff)])]));
};

/** `names` are pairs of mnemonic and IR op. */
function ops(names: string, make: (op: string) => Lift): Record<string, Lift> {
  const list = names
    .trim()
    .split(/\s*\n\s*|\s\s+/)
    .map((pair) => pair.split(' '));
  return Object.fromEntries(list.map(([name = '', op = '']) => [name, make(op)]));
}

export const SSE_INTEGER_LIFTS: Record<string, Lift> = {
  ...ops(
    `
    paddb i8x16.add  paddw i16x8.add  paddd i32x4.add  paddq i64x2.add
    psubb i8x16.sub  psubw i16x8.sub  psubd i32x4.sub  psubq i64x2.sub
    paddsb i8x16.add_sat_s  paddsw i16x8.add_sat_s  paddusb i8x16.add_sat_u  paddusw i16x8.add_sat_u
    psubsb i8x16.sub_sat_s  psubsw i16x8.sub_sat_s  psubusb i8x16.sub_sat_u  psubusw i16x8.sub_sat_u
    pcmpeqb i8x16.eq  pcmpeqw i16x8.eq  pcmpeqd i32x4.eq  pcmpeqq i64x2.eq
    pcmpgtb i8x16.gt_s  pcmpgtw i16x8.gt_s  pcmpgtd i32x4.gt_s  pcmpgtq i64x2.gt_s
    pminub i8x16.min_u  pminuw i16x8.min_u  pminud i32x4.min_u  pminsb i8x16.min_s  pminsw i16x8.min_s  pminsd i32x4.min_s
    pmaxub i8x16.max_u  pmaxuw i16x8.max_u  pmaxud i32x4.max_u  pmaxsb i8x16.max_s  pmaxsw i16x8.max_s  pmaxsd i32x4.max_s
    pmullw i16x8.mul  pmulld i32x4.mul  pmaddwd i32x4.dot_i16x8_s  pavgb i8x16.avgr_u  pavgw i16x8.avgr_u
    pand v128.and  por v128.or  pxor v128.xor
  `,
    binaryOp,
  ),
  ...ops('pabsb i8x16.abs  pabsw i16x8.abs  pabsd i32x4.abs', unaryOp),
  pandn: binary((x, a, b) => x.op('v128.andnot', [b, a])),
  psllw: shift('i16x8', 'shl', 16),
  pslld: shift('i32x4', 'shl', 32),
  psllq: shift('i64x2', 'shl', 64),
  psrlw: shift('i16x8', 'shr_u', 16),
  psrld: shift('i32x4', 'shr_u', 32),
  psrlq: shift('i64x2', 'shr_u', 64),
  psraw: shift('i16x8', 'shr_s', 16),
  psrad: shift('i32x4', 'shr_s', 32),
  pmulhw: mulHigh('s'),
  pmulhuw: mulHigh('u'),
  pmuludq: mulEven('u'),
  pmuldq: mulEven('s'),
  pmaddubsw: liftPmaddubsw,
  pmulhrsw: liftPmulhrsw,
  psadbw: liftPsadbw,
  psignb: sign('i8x16'),
  psignw: sign('i16x8'),
  psignd: sign('i32x4'),
  phaddw: horizontal('i16x8.add', 2),
  phaddd: horizontal('i32x4.add', 4),
  phaddsw: horizontal('i16x8.add_sat_s', 2),
  phsubw: horizontal('i16x8.sub', 2),
  phsubd: horizontal('i32x4.sub', 4),
  phsubsw: horizontal('i16x8.sub_sat_s', 2),
  pmovsxbw: extend('s', BW),
  pmovsxbd: extend('s', BW, WD),
  pmovsxbq: extend('s', BW, WD, DQ),
  pmovsxwd: extend('s', WD),
  pmovsxwq: extend('s', WD, DQ),
  pmovsxdq: extend('s', DQ),
  pmovzxbw: extend('u', BW),
  pmovzxbd: extend('u', BW, WD),
  pmovzxbq: extend('u', BW, WD, DQ),
  pmovzxwd: extend('u', WD),
  pmovzxwq: extend('u', WD, DQ),
  pmovzxdq: extend('u', DQ),
  ptest: liftPtest,
  mpsadbw: helper('sse_mpsadbw'),
  pclmulqdq: helper('sse_pclmulqdq'),
  phminposuw: unary((x, b) => x.call('sse_phminposuw', [b])),
  aesenc: aes('sse_aesenc', 0),
  aesenclast: aes('sse_aesenc', 1),
  aesdec: aes('sse_aesdec', 0),
  aesdeclast: aes('sse_aesdec', 1),
  aesimc: unary((x, b) => x.call('sse_aesimc', [b])),
  aeskeygenassist: liftAesKeygenAssist,
};
