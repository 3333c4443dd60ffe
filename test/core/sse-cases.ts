import type { InsnRow } from '#isa/x86/insn.ts';

// Cases of MMX and SSE instructions for the host's processor and for ours: register 1 is the destination (ModRM.reg),
// register 2 or the 16 bytes at RDI the other operand.

/** One instruction as the decoder would hand it on, and its bytes. */
export interface Encoding {
  readonly row: InsnRow;
  readonly memory: boolean;
  readonly opSize: 4 | 8;
  readonly bytes: readonly number[];
  /** Place of the immediate in `bytes`, or -1. */
  readonly immediateAt: number;
}

function opcodeBytes(opcode: number): number[] {
  const all = [opcode >> 16, (opcode >> 8) & 0xff, opcode & 0xff];
  return all[0] === 0 ? all.slice(1) : all;
}

function encode(row: InsnRow, memory: boolean, opSize: 4 | 8): Encoding {
  const { prefix, reg, w } = row.options;
  const bytes: number[] = typeof prefix === 'number' ? [prefix] : [];
  if (opSize === 8 || w === 1) bytes.push(0x48);
  bytes.push(...opcodeBytes(row.opcode));
  if (row.operands.length > 0) bytes.push((memory ? 0x07 : 0xc2) | ((reg ?? 1) << 3));
  const immediateAt = row.operands.some((o) => o.kind === 'I') ? bytes.length : -1;
  if (immediateAt >= 0) bytes.push(0);
  return { row, memory, opSize, bytes, immediateAt };
}

/** All forms of a row: register and memory, 32 and 64 bits. */
export function encodings(row: InsnRow): Encoding[] {
  const kinds = row.operands.map((o) => o.kind).join('');
  const memories = /M/.test(kinds) ? [true] : /[EWQ]/.test(kinds) ? [false, true] : [false];
  const sizes = row.operands.some((o) => o.size === 'y') ? ([4, 8] as const) : ([4] as const);
  return memories.flatMap((memory) => sizes.map((size) => encode(row, memory, size)));
}

/** Reproducible random numbers: a linear congruential generator of 64 bits, upper half used. */
export class Random {
  #state: bigint;

  constructor(seed: number) {
    this.#state = BigInt(seed);
  }

  u32(): number {
    this.#state = BigInt.asUintN(64, this.#state * 6364136223846793005n + 1442695040888963407n);
    return Number(this.#state >> 32n);
  }

  below(n: number): number {
    return Math.floor((this.u32() / 4294967296) * n);
  }

  of<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }

  u64(): bigint {
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32());
  }
}

const SPECIAL32 = [
  0, 1, 2, 0x7fffff, 0x800000, 0x800001, 0x3f800000, 0x3f800001, 0x3effffff, 0x3f000000, 0x3fc00000,
  0x40200000, 0x7f7fffff, 0x7f800000, 0x7f800001, 0x7fc00000, 0x7fc12345, 0x4f000000, 0x4effffff,
  0x5f000000, 0x4b7fffff, 0x400000, 0x1ffffff,
];
const SPECIAL64 = [
  0n,
  1n,
  0xfffffffffffffn,
  0x10000000000000n,
  0x10000000000001n,
  0x3ff0000000000000n,
  0x3ff0000000000001n,
  0x3fdfffffffffffffn,
  0x3fe0000000000000n,
  0x3ff8000000000000n,
  0x7fefffffffffffffn,
  0x7ff0000000000000n,
  0x7ff0000000000001n,
  0x7ff8000000000000n,
  0x7ff8123456789abcn,
  0x41e0000000000000n,
  0x41dfffffffc00000n,
  0x43e0000000000000n,
  0x43dfffffffffffffn,
  0x380fffffe0000000n,
  0x47efffffe0000000n,
  0x47effffff0000000n,
  0x36a0000000000000n,
  0x3690000000000001n,
  0x8000000000000n,
  0x41dfffffffe00000n,
];

function float32(r: Random): number {
  const sign = r.below(2) * 0x80000000;
  switch (r.below(6)) {
    case 0:
      return (r.of(SPECIAL32) | sign) >>> 0;
    case 1:
      return (((100 + r.below(60)) << 23) | r.below(0x800000) | sign) >>> 0;
    case 2:
      return (((126 + r.below(4)) << 23) | (r.below(16) << 19) | sign) >>> 0;
    case 3:
      return (r.below(0x800000 << r.below(4)) | sign) >>> 0;
    case 4:
      return (((60 + r.below(10)) << 23) | r.below(0x800000) | sign) >>> 0;
    default:
      return r.u32();
  }
}

function float64(r: Random): bigint {
  const sign = BigInt(r.below(2)) << 63n;
  const fraction = r.u64() & 0xfffffffffffffn;
  switch (r.below(6)) {
    case 0:
      return r.of(SPECIAL64) | sign;
    case 1:
      return (BigInt(990 + r.below(100)) << 52n) | fraction | sign;
    case 2:
      return (BigInt(1022 + r.below(4)) << 52n) | (BigInt(r.below(16)) << 48n) | sign;
    case 3:
      return (fraction >> BigInt(r.below(20))) | sign;
    case 4:
      return (
        (BigInt(r.of([500, 511, 512, 880, 1140, 1500, 2040]) + r.below(12)) << 52n) |
        fraction |
        sign
      );
    default:
      return r.u64();
  }
}

const EDGE_BYTES = [0, 1, 0x7f, 0x80, 0x81, 0xff];

/** Sixteen bytes: singles, doubles, integers with many edge values, or text. */
export function fillVector(
  r: Random,
  view: DataView,
  at: number,
  floats: 'single' | 'double' | 'none',
): void {
  const kind = floats === 'none' || r.below(8) === 0 ? r.below(4) : floats === 'single' ? 4 : 5;
  for (let i = 0; i < 16; i++) {
    const byte =
      kind === 0
        ? r.below(256)
        : kind === 1
          ? r.of(EDGE_BYTES)
          : kind === 2
            ? r.below(6)
            : r.of([0, 0, 0, r.below(70)]);
    view.setUint8(at + i, byte);
  }
  if (kind === 4) for (let i = 0; i < 16; i += 4) view.setUint32(at + i, float32(r), true);
  if (kind === 5) for (let i = 0; i < 16; i += 8) view.setBigUint64(at + i, float64(r), true);
}

/** A control word: often the usual one, else any rounding, DAZ, FZ, flags and, rarely, masks. */
export function randomMxcsr(r: Random): number {
  const flags = r.below(3) === 0 ? r.below(64) : 0;
  switch (r.below(4)) {
    case 0:
      return 0x1fa0 | flags;
    case 1:
      return 0x1f80 | flags;
    case 2:
      return 0x1f80 | flags | (r.below(8) << 13) | (r.below(2) << 6);
    default:
      return (r.below(64) << 7) | flags | (r.below(8) << 13) | (r.below(2) << 6);
  }
}
