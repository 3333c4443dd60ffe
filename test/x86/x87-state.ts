import {
  S_FPU_CONTROL,
  S_FPU_DP,
  S_FPU_EMPTY,
  S_FPU_IP,
  S_FPU_OPCODE,
  S_FPU_REGS,
  S_FPU_STATUS,
  S_FPU_TOP,
} from '#ir/state.ts';
import { STATE } from './host-cpu.ts';
import { isOpenPointer } from './makers.ts';
import type { Random } from './random.ts';

// The x87's state of a case: how it is filled, loaded into our processor, and compared. In memory it is FXSAVE's image.

const INTEGER = 0x8000000000000000n;
const BIAS = 0x3fff;
const FX = STATE.fx;
const ES = 0x8080;

interface Extended {
  readonly se: number;
  readonly sig: bigint;
}

/** A number with an exponent from `low` to `high` and few or many bits. */
function number(random: Random, low: number, high: number): Extended {
  const sign = random.below(2) << 15;
  let sig = random.u64() | INTEGER;
  const kind = random.below(5);
  // Bits as programs have them, near the precisions that rounding is to, and carries out of the significand.
  if (kind === 0) sig = INTEGER | (random.u64() << BigInt(40 + random.below(24)));
  if (kind === 1) sig = INTEGER | (BigInt(random.below(8)) << BigInt(9 + random.below(32)));
  if (kind === 2) sig = 0xffffffffffffffffn << BigInt(random.below(48));
  return {
    se: sign | (BIAS + low + random.below(high - low + 1)),
    sig: BigInt.asUintN(64, sig) | INTEGER,
  };
}

const SPECIAL: readonly Extended[] = [
  { se: 0, sig: 0n },
  { se: 0x3fff, sig: INTEGER },
  { se: 0x7fff, sig: INTEGER },
  { se: 0, sig: 1n },
  { se: 0, sig: 0x7fffffffffffffffn },
  { se: 0, sig: INTEGER }, // pseudo-denormal
  { se: 1, sig: INTEGER },
  { se: 0x7ffe, sig: 0xffffffffffffffffn },
  { se: 0x7fff, sig: 0xc000000000000000n },
  { se: 0x7fff, sig: 0xc000000000001234n },
  { se: 0x7fff, sig: 0x8000000000001000n }, // signalling
  { se: 0x7fff, sig: 0xa000000000000000n },
  { se: 0x7fff, sig: 0n }, // pseudo-infinity
  { se: 0x7fff, sig: 0x4000000000000001n }, // pseudo-NaN
  { se: 0x3fff, sig: 0x4000000000000000n }, // unnormal
];

function extended(random: Random): Extended {
  switch (random.below(10)) {
    case 0:
    case 1: {
      const { se, sig } = random.pick(SPECIAL);
      return { se: se | (random.below(2) << 15), sig };
    }
    case 2:
      return number(random, -BIAS + 1, 0x7ffe - BIAS);
    case 3:
      return number(random, random.pick([-BIAS + 1, 0x3fc0]), 0x3fff);
    case 4:
      return number(random, -BIAS + 1, -BIAS + 70);
    case 5:
      return { se: random.below(2) << 15, sig: random.u64() >> BigInt(random.below(64)) };
    case 6:
      return number(random, -1080, -1010 + random.below(2040));
    case 7:
      return number(random, 0, 70);
    default:
      return number(random, -3, 3);
  }
}

function control(random: Random): number {
  if (random.below(3) === 0) return 0x37f;
  const masks = random.below(3) === 0 ? random.below(64) : 0x3f;
  return 0x40 | masks | (random.pick([0, 2, 2, 3, 3, 3, 3]) << 8) | (random.below(4) << 10);
}

/** A float with its value near the range's ends or in its middle. */
function f32(random: Random): number {
  switch (random.below(4)) {
    case 0:
      return random.pick([
        0, 1, 0x7fffff, 0x800000, 0x7f7fffff, 0x7f800000, 0x7fc00001, 0x7f800001,
      ]);
    case 1:
      return Number(random.u64() & 0xffffffffn);
    default:
      return ((124 + random.below(8)) << 23) | Number(random.u64() & 0x807fffffn & 0x7fffffn);
  }
}

function f64(random: Random): bigint {
  switch (random.below(4)) {
    case 0:
      return (
        (BigInt(random.below(2)) << 63n) |
        random.pick([0n, 1n, 0xfffffffffffffn, 0x10000000000000n, 0x7fefffffffffffffn]) |
        random.pick([0n, 0n, 0x7ff0000000000000n, 0x7ff8000000000001n])
      );
    case 1:
      return random.u64();
    default:
      return (BigInt(1020 + random.below(8)) << 52n) | (random.u64() & 0x800fffffffffffffn);
  }
}

/** Memory operands: floats, doubles, integers, decimals and ten-byte numbers at multiples of 16. */
function fillData(view: DataView, bytes: number, random: Random): void {
  for (let i = 0; i < bytes; i += 16) {
    const at = STATE.data + i;
    const { se, sig } = extended(random);
    view.setBigUint64(at, sig, true);
    view.setBigUint64(at + 8, (random.u64() & ~0xffffn) | BigInt(se), true);
    const kind = random.below(6);
    if (kind === 0) view.setBigUint64(at, f64(random), true);
    if (kind === 1) view.setUint32(at, f32(random), true);
    if (kind === 2) view.setBigUint64(at, random.value(), true);
    if (kind === 3) {
      for (let k = 0; k < 9; k++) view.setUint8(at + k, random.below(10) * 16 + random.below(10));
      view.setUint8(at + 9, random.below(2) * 128);
    }
  }
}

/** Any state at all, but mostly one in which an instruction does its work. */
export function fillX87(view: DataView, dataBytes: number, random: Random): void {
  const top = random.below(8);
  const flags = random.below(4) === 0 ? random.below(128) : 0;
  const codes = Number(random.u64() & 0x4700n);
  view.setUint16(FX, control(random), true);
  view.setUint16(FX + 2, (top << 11) | codes | flags, true);
  const tags = random.pick([0xff, 0xff, 0x7f, random.below(256)]);
  // The abridged tag word is by physical register: rotated, so that mostly ST(7) is the empty one.
  view.setUint8(FX + 4, ((tags << top) | (tags >> (8 - top))) & 0xff);
  for (let i = 0; i < 8; i++) {
    const { se, sig } = extended(random);
    view.setBigUint64(FX + 32 + i * 16, sig, true);
    view.setUint16(FX + 40 + i * 16, se, true);
  }
  fillData(view, dataBytes, random);
}

/** Any TOP and tags, as MMX instructions may find them, and at times an exception that waits. */
export function fillStack(view: DataView, random: Random): void {
  const waits = random.below(8) === 0;
  view.setUint16(FX, waits ? 0x37e : 0x37f, true);
  view.setUint16(FX + 2, (random.below(8) << 11) | (waits ? 1 : 0), true);
  view.setUint8(FX + 4, random.below(256));
}

/** The x87's part of a machine's state. */
export interface X87 {
  readonly view: DataView;
  readonly cpu: number;
}

export function loadX87({ view, cpu }: X87, given: DataView): void {
  const word = given.getUint16(FX, true);
  const status = given.getUint16(FX + 2, true);
  const top = (status >> 11) & 7;
  const waits = (status & ~word & 0x3f) !== 0;
  view.setUint32(cpu + S_FPU_CONTROL, word, true);
  view.setUint32(cpu + S_FPU_STATUS, (status & 0x477f) | (waits ? ES : 0), true);
  view.setUint32(cpu + S_FPU_TOP, top, true);
  view.setUint32(cpu + S_FPU_EMPTY, ~given.getUint8(FX + 4) & 0xff, true);
  view.setUint32(cpu + S_FPU_OPCODE, given.getUint16(FX + 6, true), true);
  view.setBigUint64(cpu + S_FPU_IP, given.getBigUint64(FX + 8, true), true);
  view.setBigUint64(cpu + S_FPU_DP, given.getBigUint64(FX + 16, true), true);
  for (let i = 0; i < 8; i++) {
    const reg = cpu + S_FPU_REGS + ((top + i) & 7) * 16;
    view.setBigUint64(reg, given.getBigUint64(FX + 32 + i * 16, true), true);
    view.setUint16(reg + 8, given.getUint16(FX + 40 + i * 16, true), true);
  }
}

/** Rounded right in some cases more than on Intel's processors: the last bit and what says how it came to be may differ. */
const APPROXIMATE = /^(f2xm1|fyl2x|fyl2xp1|fpatan|fptan|fsincos|fsin|fcos)$/;
const C1 = 0x200;

/** Units in the last place between two numbers of 80 bits of one sign. */
function distance(a: bigint, b: bigint): bigint {
  const order = (v: bigint) => ((v >> 64n) << 63n) | (v & 0x7fffffffffffffffn);
  const d = order(a) - order(b);
  return d < 0n ? -d : d;
}

/** The first field in which the host's image and our state differ after the instruction `name`: its name, theirs and ours. */
export function compareX87(
  { view, cpu }: X87,
  host: DataView,
  name: string,
): readonly [string, bigint | number, bigint | number] | undefined {
  const top = view.getUint32(cpu + S_FPU_TOP, true);
  const status = view.getUint32(cpu + S_FPU_STATUS, true) | (top << 11);
  const isApproximate = APPROXIMATE.test(name);
  const ignored = isApproximate ? C1 : 0;
  const words = [
    ['fcw', host.getUint16(FX, true), view.getUint32(cpu + S_FPU_CONTROL, true)],
    ['fsw', host.getUint16(FX + 2, true) & ~ignored, status & ~ignored],
    ['fop', host.getUint16(FX + 6, true), view.getUint32(cpu + S_FPU_OPCODE, true)],
    ['fdp', host.getBigUint64(FX + 16, true), view.getBigUint64(cpu + S_FPU_DP, true)],
    ['tags', host.getUint8(FX + 4), ~view.getUint32(cpu + S_FPU_EMPTY, true) & 0xff],
  ] as const;
  for (const word of words) {
    const isPointer = word[0] === 'fop' || word[0] === 'fdp';
    if (word[1] !== word[2] && !(isPointer && isOpenPointer(name))) return word;
  }
  for (let i = 0; i < 8; i++) {
    const at = FX + 32 + i * 16;
    const reg = cpu + S_FPU_REGS + ((top + i) & 7) * 16;
    const theirs = (BigInt(host.getUint16(at + 8, true)) << 64n) | host.getBigUint64(at, true);
    const ours = (BigInt(view.getUint16(reg + 8, true)) << 64n) | view.getBigUint64(reg, true);
    if (theirs !== ours && !(isApproximate && distance(theirs, ours) <= 1n))
      return [`st${i}`, theirs, ours];
  }
  return undefined;
}
