import type { Inst } from '#ir/block.ts';
import { S_RDI, S_XMM } from '#ir/state.ts';
import type { Lift, Lifter } from '../lifter.ts';
import { isMmx, low64, read, shuffleBy, splat64, unary, write, zero } from './sse-operands.ts';

/** MOVUPS and all that move a whole register: rows say whether memory must be aligned. */
const liftMove: Lift = (x) => write(x, 0, read(x, 1));

/** MOVSS, MOVSD: from memory the rest is cleared, between registers it stays. */
function moveScalar(lane: 4 | 8): Lift {
  return (x) => {
    const source = read(x, 1);
    if (x.isMem(0) || x.isMem(1)) write(x, 0, source);
    else write(x, 0, mergeLow(x, lane, x.readVec(0), source));
  };
}

/** `a` with the low element of `b`. */
export function mergeLow(x: Lifter, size: 4 | 8, a: Inst, b: Inst): Inst {
  return shuffleBy(x, size, a, b, size === 4 ? [4, 1, 2, 3] : [2, 1]);
}

const liftMovlps: Lift = (x) => {
  const source = read(x, 1);
  write(x, 0, x.isMem(0) ? source : mergeLow(x, 8, x.readVec(0), source));
};

const liftMovhps: Lift = (x) => {
  if (x.isMem(0)) {
    x.store(x.address(), 8, x.lane('i64x2.extract_lane', 1, x.readVec(1)));
    return;
  }
  const source = read(x, 1);
  write(x, 0, shuffleBy(x, 8, x.readVec(0), source, [0, 2]));
};

/** MOVD and MOVQ from a general register or memory. */
const liftMovdLoad: Lift = (x) => {
  const value = x.to64(x.read(1));
  if (isMmx(x, 0)) write(x, 0, splat64(x, value));
  else x.writeVec(0, x.lane('i64x2.replace_lane', 0, zero(x), value));
};

const liftMovdStore: Lift = (x) => {
  const value = x.resize(low64(x, read(x, 1)), 8, x.size);
  if (isMmx(x, 1)) fromMmx(x, () => x.write(0, value));
  else x.write(0, value);
};

/** What an MMX instruction writes elsewhere: #MF comes before, and where the write faults the x87 stays as it was. */
function fromMmx(x: Lifter, write: () => void): void {
  x.call('x87_wait');
  write();
  x.call('mmx_enter');
}

/** MOVQ between XMM registers clears the upper half too. */
const liftMovq: Lift = (x) => {
  const source = read(x, 1);
  write(x, 0, x.isMem(0) ? source : shuffleBy(x, 8, source, zero(x), [0, 2]));
};

const liftMovqMmx: Lift = (x) => {
  const source = read(x, 1);
  if (x.isMem(0)) fromMmx(x, () => x.writeMmx(0, low64(x, source)));
  else write(x, 0, source);
};

const liftMovq2dq: Lift = (x) => {
  const source = shuffleBy(x, 8, read(x, 1), zero(x), [0, 2]);
  x.call('mmx_enter');
  x.writeVec(0, source);
};

/** MASKMOVDQU and MASKMOVQ: to DS:rDI, segment override allowed. */
const liftMaskmov: Lift = (x) => {
  const { addrSize } = x.cx;
  const value = read(x, 0);
  const mask = isMmx(x, 1) ? shuffleBy(x, 8, read(x, 1), zero(x), [0, 2]) : read(x, 1);
  const addressMask = x.const64(addrSize === 8 ? -1 : addrSize === 4 ? 0xffffffff : 0xffff);
  const store = () =>
    x.call('sse_masked_store', [x.segment(), x.reg(S_RDI, 8), addressMask, value, mask]);
  if (isMmx(x, 0)) fromMmx(x, store);
  else store();
};

/** Sign bits of the elements into a general register, 64 bits of it. */
function signMask(op: string): Lift {
  return (x) => {
    const bits = x.op(op, [read(x, 1)]);
    if (!isMmx(x, 1)) {
      x.write(0, bits);
      return;
    }
    x.call('mmx_enter');
    x.write(0, x.mask(bits, 1));
  };
}

/** XMM0, the implicit third operand of the variable blends. */
export function xmm0(x: Lifter): Inst {
  return x.op('getv', [], { slot: { fixed: S_XMM } });
}

export const SSE_MOVE_LIFTS: Record<string, Lift> = {
  movups: liftMove,
  movss: moveScalar(4),
  movsd_sse: moveScalar(8),
  movlps: liftMovlps,
  movhps: liftMovhps,
  movhlps: (x) => write(x, 0, shuffleBy(x, 8, read(x, 0), read(x, 1), [3, 1])),
  movlhps: (x) => write(x, 0, shuffleBy(x, 8, read(x, 0), read(x, 1), [0, 2])),
  movsldup: unary((x, b) => shuffleBy(x, 4, b, b, [0, 0, 2, 2])),
  movshdup: unary((x, b) => shuffleBy(x, 4, b, b, [1, 1, 3, 3])),
  movddup: unary((x, b) => shuffleBy(x, 8, b, b, [0, 0])),
  movd_load: liftMovdLoad,
  movd_store: liftMovdStore,
  movq_sse: liftMovq,
  movq_mmx: liftMovqMmx,
  movq2dq: liftMovq2dq,
  movdq2q: liftMove,
  maskmov: liftMaskmov,
  movmskps: signMask('i32x4.bitmask'),
  movmskpd: signMask('i64x2.bitmask'),
  pmovmskb: signMask('i8x16.bitmask'),
};
