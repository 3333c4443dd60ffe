import type { Inst } from '#ir/block.ts';
import type { Lift, Lifter } from '../lifter.ts';
import { xmm0 } from './sse-move.ts';
import {
  binary,
  bytes,
  dwords,
  isMmx,
  joinLow,
  read,
  shuffleBy,
  words,
  write,
} from './sse-operands.ts';

// Immediates are values like others (a field of the record in the cold tier), so shuffles by an immediate compute their
// byte indexes and use swizzle, which gives 0 for indexes from 16 on.

const IOTA = Array.from({ length: 16 }, (_, i) => i);

function swizzle(x: Lifter, value: Inst, indexes: Inst): Inst {
  return x.op('i8x16.swizzle', [value, indexes]);
}

function splat(x: Lifter, shape: string, value: Inst): Inst {
  return x.op(`${shape}.splat`, [value]);
}

/** Two bits of the immediate for each doubleword: byte indexes of the elements they choose. */
function dwordIndexes(x: Lifter, imm: Inst): Inst {
  const fields = x.op('i32x4.mul', [splat(x, 'i32x4', imm), dwords(x, [64, 16, 4, 1])]);
  const chosen = x.op('v128.and', [
    x.op('i32x4.shr_u', [fields, x.const32(6)]),
    dwords(x, [3, 3, 3, 3]),
  ]);
  const spread = x.op('i32x4.mul', [chosen, dwords(x, new Array<number>(4).fill(0x04040404))]);
  return x.op('i32x4.add', [spread, dwords(x, new Array<number>(4).fill(0x03020100))]);
}

/** The same for four words from byte `first` on, the other half left in place. */
function wordIndexes(x: Lifter, imm: Inst, first: 0 | 8): Inst {
  const here = first === 0 ? [64, 16, 4, 1, 0, 0, 0, 0] : [0, 0, 0, 0, 64, 16, 4, 1];
  const base = IOTA.map((i) => ((i & 8) === first ? first + (i & 1) : i));
  const fields = x.op('i16x8.mul', [splat(x, 'i16x8', imm), words(x, here)]);
  const shifted = x.op('i16x8.shr_u', [fields, x.const32(6)]);
  const chosen = x.op('v128.and', [shifted, words(x, new Array<number>(8).fill(3))]);
  const spread = x.op('i16x8.mul', [chosen, words(x, new Array<number>(8).fill(0x0202))]);
  return x.op('i8x16.add', [spread, bytes(x, base)]);
}

const imm8 = (x: Lifter, i: number) => x.op('i32.and', [x.imm(i), x.const32(0xff)]);

/** All ones in the lanes whose bit in `lanes` is set in the immediate. */
function lanesOf(x: Lifter, imm: Inst, shape: 'i32x4' | 'i16x8', lanes: readonly number[]): Inst {
  const bits = shape === 'i32x4' ? dwords(x, lanes) : words(x, lanes);
  return x.op(`${shape}.eq`, [x.op('v128.and', [splat(x, shape, imm), bits]), bits]);
}

function blendBy(shape: 'i32x4' | 'i16x8', lanes: readonly number[]): Lift {
  return (x) => {
    const b = read(x, 1);
    write(x, 0, x.op('v128.bitselect', [b, read(x, 0), lanesOf(x, x.imm(2), shape, lanes)]));
  };
}

/** Blends by the sign bits of XMM0. */
function blendVariable(shape: string, width: number): Lift {
  return binary((x, a, b) => {
    const mask = x.op(`${shape}.shr_s`, [xmm0(x), x.const32(width - 1)]);
    return x.op('v128.bitselect', [b, a, mask]);
  });
}

const liftShufps: Lift = (x) => {
  const b = read(x, 1);
  const indexes = dwordIndexes(x, imm8(x, 2));
  write(x, 0, shuffleBy(x, 8, swizzle(x, read(x, 0), indexes), swizzle(x, b, indexes), [0, 3]));
};

const liftShufpd: Lift = (x) => {
  const b = read(x, 1);
  const imm = x.imm(2);
  const a = read(x, 0);
  const low = half(x, a, x.op('i32.and', [imm, x.const32(1)]));
  const high = half(x, b, x.op('i32.and', [imm, x.const32(2)]));
  write(x, 0, shuffleBy(x, 8, low, high, [0, 2]));
};

/** `value` with the half that `upper` chooses in the low one. */
function half(x: Lifter, value: Inst, upper: Inst): Inst {
  return x.op('v128.select', [upper, shuffleBy(x, 8, value, value, [1, 1]), value]);
}

/** PALIGNR: bytes from `imm` on of `a:b`. Indexes up to 47: a count above 32 is as good as 32. */
const liftPalignr: Lift = (x) => {
  const b = read(x, 1);
  const a = read(x, 0);
  const imm = imm8(x, 2);
  const big = x.op('i32.gt_u', [imm, x.const32(32)]);
  const indexes = x.op('i8x16.add', [
    bytes(x, IOTA),
    splat(x, 'i8x16', x.select(big, x.const32(32), imm)),
  ]);
  if (isMmx(x, 0)) {
    write(x, 0, swizzle(x, joinLow(x, b, a), indexes));
    return;
  }
  const upper = x.op('i8x16.sub', [indexes, bytes(x, new Array<number>(16).fill(16))]);
  write(x, 0, x.op('v128.or', [swizzle(x, b, indexes), swizzle(x, a, upper)]));
};

/** PSLLDQ and PSRLDQ. */
function byteShift(direction: 'add' | 'sub'): Lift {
  return (x) => {
    const imm = imm8(x, 1);
    const count = x.select(x.op('i32.gt_u', [imm, x.const32(16)]), x.const32(16), imm);
    const indexes = x.op(`i8x16.${direction}`, [bytes(x, IOTA), splat(x, 'i8x16', count)]);
    write(x, 0, swizzle(x, read(x, 0), indexes));
  };
}

/** The element that the immediate chooses, at the bottom: elements of `size` bytes, `count` of them. */
function elementAt(x: Lifter, value: Inst, imm: Inst, size: number, count: number): Inst {
  const index = x.op('i32.and', [imm, x.const32(count - 1)]);
  const first = x.op('i32.mul', [index, x.const32(size)]);
  return swizzle(x, value, x.op('i8x16.add', [bytes(x, IOTA), splat(x, 'i8x16', first)]));
}

/** PEXTRB and PEXTRW: zero-extended into a general register, or to memory. */
function extract(shape: 'i8x16' | 'i16x8'): Lift {
  return (x) => {
    const mmx = isMmx(x, 1);
    const size = shape === 'i8x16' ? 1 : 2;
    const moved = elementAt(x, read(x, 1), x.imm(2), size, mmx ? 4 : 16 / size);
    const value = x.lane(`${shape}.extract_lane_u`, 0, moved);
    if (mmx) x.call('mmx_enter');
    x.write(0, value);
  };
}

/** PEXTRD, PEXTRQ, EXTRACTPS. */
const liftPextrd: Lift = (x) => {
  const { size } = x;
  const moved = elementAt(x, read(x, 1), x.imm(2), size, 16 / size);
  x.write(0, x.resize(x.lane('i64x2.extract_lane', 0, moved), 8, size));
};

/** PINSRB, PINSRW, PINSRD, PINSRQ. */
function insert(size: 1 | 2 | 0): Lift {
  return (x) => {
    const bytesEach = size === 0 ? x.binding(1).size : size;
    const value = x.read(1);
    const shape = { 1: 'i8x16', 2: 'i16x8', 4: 'i32x4', 8: 'i64x2' }[bytesEach] ?? 'i32x4';
    const count = isMmx(x, 0) ? 4 : 16 / bytesEach;
    const index = x.op('i32.and', [x.imm(2), x.const32(count - 1)]);
    const numbers = bytes(
      x,
      IOTA.map((i) => Math.floor(i / bytesEach)),
    );
    const mask = x.op('i8x16.eq', [numbers, splat(x, 'i8x16', index)]);
    write(x, 0, x.op('v128.bitselect', [splat(x, shape, value), read(x, 0), mask]));
  };
}

/** INSERTPS: imm bits 7:6 the source's lane (in memory there is one), 5:4 the destination's, 3:0 lanes to clear. */
const liftInsertps: Lift = (x) => {
  const b = read(x, 1);
  const imm = imm8(x, 2);
  const lane = x.op('i32.shr_u', [imm, x.const32(6)]);
  const element = x.isMem(1) ? b : elementAt(x, b, lane, 4, 4);
  const to = x.op('i32.and', [x.op('i32.shr_u', [imm, x.const32(4)]), x.const32(3)]);
  const mask = x.op('i32x4.eq', [dwords(x, [0, 1, 2, 3]), splat(x, 'i32x4', to)]);
  const merged = x.op('v128.bitselect', [
    shuffleBy(x, 4, element, element, [0, 0, 0, 0]),
    read(x, 0),
    mask,
  ]);
  write(x, 0, x.op('v128.andnot', [merged, lanesOf(x, imm, 'i32x4', [1, 2, 4, 8])]));
};

function shuffleImm(indexes: (x: Lifter, imm: Inst) => Inst): Lift {
  return (x) => write(x, 0, swizzle(x, read(x, 1), indexes(x, imm8(x, 2))));
}

/** PUNPCKx: elements of `size` bytes of both operands in turn. */
function interleave(size: 1 | 2 | 4 | 8, high: boolean): Lift {
  return binary((x, a, b) => {
    const count = (isMmx(x, 0) ? 8 : 16) / size;
    const first = high ? count / 2 : 0;
    const lanes = Array.from(
      { length: 16 / size },
      (_, i) => (((i >> 1) + first) % (16 / size)) + (i & 1) * (16 / size),
    );
    return shuffleBy(x, size, a, b, lanes);
  });
}

/** PACKxx: with MMX both operands are halves of one. */
function pack(name: string): Lift {
  return binary((x, a, b) => {
    if (!isMmx(x, 0)) return x.op(name, [a, b]);
    const both = joinLow(x, a, b);
    return x.op(name, [both, both]);
  });
}

const liftPshufb = binary((x, a, b) => {
  const kept = new Array<number>(16).fill(isMmx(x, 0) ? 0x87 : 0x8f);
  return swizzle(x, a, x.op('v128.and', [b, bytes(x, kept)]));
});

export const SSE_SHUFFLE_LIFTS: Record<string, Lift> = {
  unpcklps: interleave(4, false),
  unpckhps: interleave(4, true),
  punpcklbw: interleave(1, false),
  punpcklwd: interleave(2, false),
  punpckldq: interleave(4, false),
  punpcklqdq: interleave(8, false),
  punpckhbw: interleave(1, true),
  punpckhwd: interleave(2, true),
  punpckhdq: interleave(4, true),
  punpckhqdq: interleave(8, true),
  packsswb: pack('i8x16.narrow_i16x8_s'),
  packuswb: pack('i8x16.narrow_i16x8_u'),
  packssdw: pack('i16x8.narrow_i32x4_s'),
  packusdw: pack('i16x8.narrow_i32x4_u'),
  shufps: liftShufps,
  shufpd: liftShufpd,
  pshufd: shuffleImm(dwordIndexes),
  pshuflw: shuffleImm((x, imm) => wordIndexes(x, imm, 0)),
  pshufhw: shuffleImm((x, imm) => wordIndexes(x, imm, 8)),
  pshufw: shuffleImm((x, imm) => wordIndexes(x, imm, 0)),
  pshufb: liftPshufb,
  palignr: liftPalignr,
  pslldq: byteShift('sub'),
  psrldq: byteShift('add'),
  pextrb: extract('i8x16'),
  pextrw: extract('i16x8'),
  pextrd: liftPextrd,
  extractps: liftPextrd,
  pinsrb: insert(1),
  pinsrw: insert(2),
  pinsrd: insert(0),
  insertps: liftInsertps,
  blendps: blendBy('i32x4', [1, 2, 4, 8]),
  blendpd: blendBy('i32x4', [1, 1, 2, 2]),
  pblendw: blendBy('i16x8', [1, 2, 4, 8, 16, 32, 64, 128]),
  pblendvb: blendVariable('i8x16', 8),
  blendvps: blendVariable('i32x4', 32),
  blendvpd: blendVariable('i64x2', 64),
};
