import { COMPARED_CARRY, COMPARED_EQUAL, COMPARED_GREATER } from '#ir/state.ts';
import type { FunctionBody } from './wasm.ts';

const GREATER = BigInt(COMPARED_GREATER);
const LESS = BigInt.asIntN(64, GREATER | (3n << BigInt(COMPARED_CARRY)));
/** Twice the bits of the least normal number, less one. */
const LEAST_32 = (2 << 23) - 1;
const LEAST_64 = (2n << 52n) - 1n;

/** True for helpers that `emitCompare` has a short way for: COMISx and UCOMISx. */
export function isCompareHelper(name: string): boolean {
  return name === 'sse_comi_ss' || name === 'sse_comi_sd';
}

/** True for helpers that `emitTruncate` has a short way for, where they truncate: CVTTSx2SI. */
export function isTruncateHelper(name: string): boolean {
  return name === 'sse_to_i32' || name === 'sse_to_i64';
}

/** Either of these. */
export function hasShortWay(name: string): boolean {
  return isCompareHelper(name) || isTruncateHelper(name);
}

/**
 * Pushes what a helper answers: the host compares numbers that are zero, normal or infinite, which raises nothing; what is
 * denormal (DE) or no number is the helper's. `operands`: locals; `pushSlow` pushes the helper's answer.
 */
export function emitCompare(
  name: string,
  operands: readonly number[],
  f: FunctionBody,
  temporaries: { take(type: 'f32' | 'f64'): number },
  pushSlow: () => void,
): void {
  const wide = name.endsWith('sd');
  f.block('i64').block();
  const [x, y] = operands.slice(0, 2).map((vector) => {
    const element = temporaries.take(wide ? 'f64' : 'f32');
    f.get(vector)
      .op(wide ? 0xfd21 : 0xfd1f)
      .code.byte(0);
    f.tee(element);
    if (wide) f.op(0xbd).i64(1).op(0x86).i64(1).op(0x7d).i64(LEAST_64).op(0x54);
    else f.op(0xbc).i32(1).op(0x74).i32(1).op(0x6b).i32(LEAST_32).op(0x49);
    f.hint(false).brIf(0);
    return element;
  }) as [number, number];
  const [equal, unequal, less] = wide ? [0x61, 0x62, 0x63] : [0x5b, 0x5c, 0x5d];
  f.get(x).get(x).op(unequal).get(y).get(y).op(unequal).op(0x72).hint(false).brIf(0);
  f.i64(BigInt(COMPARED_EQUAL)).i64(LESS).i64(GREATER);
  f.get(x).get(y).op(less).op(0x1b);
  f.get(x).get(y).op(equal).op(0x1b);
  f.br(1).end();
  pushSlow();
  f.end();
}

/**
 * Pushes what a helper answers, as above: an integer of a number in range, which raises nothing but PE. `usual`: the local that
 * says whether PE is set and masked; `wide`: of a double.
 */
export function emitTruncate(
  name: string,
  { f, usual, vector, wide, number }: TruncateParts,
  pushSlow: () => void,
): void {
  const to64 = name === 'sse_to_i64';
  f.block(to64 ? 'i64' : 'i32').block();
  f.get(usual).op(0x45).hint(false).brIf(0);
  f.get(vector)
    .op(wide ? 0xfd21 : 0xfd1f)
    .code.byte(0);
  if (!wide) f.op(0xbb);
  f.tee(number).f64(to64 ? -(2 ** 63) : -(2 ** 31) - 1);
  // NaN is neither.
  f.op(to64 ? 0x66 : 0x64)
    .op(0x45)
    .hint(false)
    .brIf(0);
  f.get(number)
    .f64(to64 ? 2 ** 63 : 2 ** 31)
    .op(0x63)
    .op(0x45)
    .hint(false)
    .brIf(0);
  f.get(number).op(to64 ? 0xfc06 : 0xfc02);
  f.br(1).end();
  pushSlow();
  f.end();
}

interface TruncateParts {
  readonly f: FunctionBody;
  readonly usual: number;
  readonly vector: number;
  readonly wide: boolean;
  /** A local of type f64. */
  readonly number: number;
}
