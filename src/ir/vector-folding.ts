import type { Inst } from './block.ts';

// Vectors that are known: the byte indexes of shuffles, which lifts compute from an immediate.

const BYTES = 16;
const ELEMENTS = { i8x16: 1, i16x8: 2, i32x4: 4, v128: 4 };

const COMPUTE: Readonly<Record<string, (a: number, b: number) => number>> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: Math.imul,
  and: (a, b) => a & b,
  or: (a, b) => a | b,
  eq: (a, b) => (a === b ? -1 : 0),
};

interface Rule {
  readonly op: string;
  /** Bytes of an element. */
  readonly size: number;
}

const RULES = new Map<string, Rule>();
for (const [shape, size] of Object.entries(ELEMENTS))
  for (const op of ['splat', 'swizzle', 'shr_u', ...Object.keys(COMPUTE)])
    RULES.set(`${shape}.${op}`, { op, size });

/** Sixteen bytes, or sixteen of two values' bytes: 0-15 of `a`, 16-31 of `b`. */
export type FoldedVector =
  | { readonly bytes: Uint8Array }
  | { readonly lanes: Uint8Array; readonly a: Inst; readonly b: Inst };

function read(bytes: Uint8Array, at: number, size: number): number {
  let value = 0;
  for (let i = size - 1; i >= 0; i--) value = (value << 8) | (bytes[at + i] ?? 0);
  return value >>> 0;
}

/** Elements of `size` bytes, each computed from its number. */
function elements(size: number, element: (at: number) => number): Uint8Array {
  const bytes = new Uint8Array(BYTES);
  for (let at = 0; at < BYTES; at += size) {
    const value = element(at);
    for (let i = 0; i < size; i++) bytes[at + i] = value >>> (8 * i);
  }
  return bytes;
}

function vectorOf(inst: Inst | undefined): Uint8Array | undefined {
  return inst?.op.name === 'v128.const' ? inst.attr.bytes : undefined;
}

function numberOf(inst: Inst | undefined): number | undefined {
  return inst?.op.name === 'i32.const' ? Number(inst.attr.imm ?? 0) | 0 : undefined;
}

/** What a vector op comes to where its arguments are known; undefined where it is to be computed. */
export function foldVector(name: string, args: readonly Inst[]): FoldedVector | undefined {
  const rule = RULES.get(name);
  if (rule === undefined) return undefined;
  const [a, b] = args;
  if (a === undefined) return undefined;
  const { op, size } = rule;
  if (op === 'splat') {
    const value = numberOf(a);
    return value === undefined ? undefined : { bytes: elements(size, () => value) };
  }
  if (op === 'swizzle') return chosenBytes(a, vectorOf(b));
  const left = vectorOf(a);
  if (left === undefined) return undefined;
  if (op === 'shr_u') {
    const by = numberOf(b);
    if (by === undefined) return undefined;
    return { bytes: elements(size, (at) => read(left, at, size) >>> (by & (8 * size - 1))) };
  }
  const right = vectorOf(b);
  const compute = COMPUTE[op];
  if (right === undefined || compute === undefined) return undefined;
  const of = (at: number) => compute(read(left, at, size), read(right, at, size));
  return { bytes: elements(size, of) };
}

/** A swizzle by known indexes, none of which gives 0, is a shuffle. */
function chosenBytes(a: Inst, indexes: Uint8Array | undefined): FoldedVector | undefined {
  if (indexes === undefined || indexes.some((i) => i >= BYTES)) return undefined;
  return { lanes: indexes, a, b: a };
}

/** A shuffle of shuffles as one of what they choose from, where that is at most two values. */
export function joinShuffles(a: Inst, b: Inst, lanes: Uint8Array): FoldedVector | undefined {
  if (a.op.name !== 'i8x16.shuffle' && b.op.name !== 'i8x16.shuffle') return undefined;
  const sources: Inst[] = [];
  const joined = lanes.map((lane) => {
    const { source, byte } = originOf(lane < BYTES ? a : b, lane % BYTES);
    if (!sources.includes(source)) sources.push(source);
    return sources.indexOf(source) * BYTES + byte;
  });
  const [first, second = first] = sources;
  if (first === undefined || second === undefined || sources.length > 2) return undefined;
  return { lanes: joined, a: first, b: second };
}

function originOf(value: Inst, byte: number): { source: Inst; byte: number } {
  if (value.op.name !== 'i8x16.shuffle') return { source: value, byte };
  const lane = value.attr.bytes?.[byte] ?? 0;
  const source = value.args[lane < BYTES ? 0 : 1] ?? value;
  return { source, byte: lane % BYTES };
}
