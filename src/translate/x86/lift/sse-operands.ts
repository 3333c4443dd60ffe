import type { Inst, Slot } from '#ir/block.ts';
import type { Lift, Lifter } from '../lifter.ts';

// Operands of MMX and SSE instructions, so that one lift serves both kinds of registers. A value is a v128; of an MMX
// operand both halves hold the same 64 bits.

export function isMmx(x: Lifter, i: number): boolean {
  return 'PQN'.includes(x.cx.specs[i]?.kind ?? ' ');
}

/** Raises #GP(0) for a memory operand that the row wants aligned. Comes before the access. */
function checkAligned(x: Lifter, i: number): void {
  if (x.cx.options.aligned === true && x.isMem(i)) x.call('check_aligned', [x.address()]);
}

export function read(x: Lifter, i: number): Inst {
  checkAligned(x, i);
  if (!isMmx(x, i)) return x.readVec(i);
  const { size } = x.binding(i);
  if (x.isMem(i)) return splat64(x, x.to64(x.load(x.address(), size)));
  return splat64(x, x.readMmx(i));
}

/** Writes the whole register, or memory. An MMX register makes the x87 stack its own, which may raise #MF. */
export function write(x: Lifter, i: number, value: Inst): void {
  checkAligned(x, i);
  if (isMmx(x, i)) writeMmx(x, i, low64(x, value));
  else x.writeVec(i, value);
}

function writeMmx(x: Lifter, i: number, value: Inst): void {
  x.call('mmx_enter');
  x.writeMmx(i, value);
  const b = x.binding(i);
  // The sign and exponent of the x87 register become ones (SDM vol. 3, 12.2).
  if (b.kind === 'vec') x.op('set16', [x.const32(0xffff)], { slot: exponentSlot(b.slot) });
}

function exponentSlot(slot: Slot): Slot {
  if ('fixed' in slot) return { fixed: slot.fixed + 8 };
  if ('base' in slot) return { ...slot, base: slot.base + 8 };
  throw new Error('lift: MMX register without a base');
}

export function splat64(x: Lifter, value: Inst): Inst {
  return x.op('i64x2.splat', [value]);
}

export function low64(x: Lifter, value: Inst): Inst {
  return x.lane('i64x2.extract_lane', 0, value);
}

export function zero(x: Lifter): Inst {
  return bytes(x, new Array<number>(16).fill(0));
}

export function bytes(x: Lifter, values: readonly number[]): Inst {
  return x.op('v128.const', [], { bytes: Uint8Array.from(values) });
}

/** A constant of eight words or four doublewords. */
export function words(x: Lifter, values: readonly number[]): Inst {
  return bytes(
    x,
    values.flatMap((w) => [w & 0xff, (w >> 8) & 0xff]),
  );
}

export function dwords(x: Lifter, values: readonly number[]): Inst {
  return bytes(
    x,
    values.flatMap((d) => [d & 0xff, (d >> 8) & 0xff, (d >> 16) & 0xff, d >>> 24]),
  );
}

/** Bytes chosen from `a` (0-15) and `b` (16-31). */
function shuffle(x: Lifter, a: Inst, b: Inst, lanes: readonly number[]): Inst {
  return x.op('i8x16.shuffle', [a, b], { bytes: Uint8Array.from(lanes) });
}

/** The same by elements of `size` bytes. */
export function shuffleBy(
  x: Lifter,
  size: number,
  a: Inst,
  b: Inst,
  lanes: readonly number[],
): Inst {
  return shuffle(
    x,
    a,
    b,
    lanes.flatMap((lane) => Array.from({ length: size }, (_, i) => lane * size + i)),
  );
}

/** Low halves of `a` and `b` in one: what an MMX operation on pairs works on. */
export function joinLow(x: Lifter, a: Inst, b: Inst): Inst {
  return shuffleBy(x, 8, a, b, [0, 2]);
}

/** A lift of `dst = f(dst, src)`, the source read first: it may be in memory. */
export function binary(f: (x: Lifter, a: Inst, b: Inst) => Inst): Lift {
  return (x) => {
    const b = read(x, 1);
    const a = read(x, 0);
    write(x, 0, f(x, a, b));
  };
}

export function unary(f: (x: Lifter, b: Inst) => Inst): Lift {
  return (x) => write(x, 0, f(x, read(x, 1)));
}

/** Of an IR op that is just that. */
export function binaryOp(name: string): Lift {
  return binary((x, a, b) => x.op(name, [a, b]));
}

export function unaryOp(name: string): Lift {
  return unary((x, b) => x.op(name, [b]));
}
