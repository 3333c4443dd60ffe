import type { Inst } from '#ir/block.ts';
import type { Lift, Lifter } from '../lifter.ts';
import { mergeLow } from './sse-move.ts';
import { binary, isMmx, read, shuffleBy, unary, write, zero } from './sse-operands.ts';

// Operations that can raise a floating-point exception or set MXCSR's flags are helpers of core/ (core/sse-arith.ts):
// they keep the lanes of the destination that a scalar instruction leaves alone.

const FORMATS = ['ps', 'pd', 'ss', 'sd'] as const;

const imm8 = (x: Lifter, i: number) => x.op('i32.and', [x.imm(i), x.const32(0xff)]);

function arithmetic(name: string): Record<string, Lift> {
  const entry = (f: string) =>
    [`${name}${f}`, binary((x, a, b) => x.call(`sse_${name}_${f}`, [a, b]))] as const;
  return Object.fromEntries(FORMATS.map(entry));
}

function withImmediate(helper: string): Lift {
  return binary((x, a, b) => x.call(helper, [a, b, imm8(x, 2)]));
}

function compares(): Record<string, Lift> {
  return Object.fromEntries(FORMATS.map((f) => [`fcmp${f}`, withImmediate(`sse_cmp_${f}`)]));
}

function round(helper: string, count: number): Lift {
  return binary((x, a, b) => x.call(helper, [a, b, imm8(x, 2), x.const32(count)]));
}

/** COMISx and UCOMISx: the helper's answer is AUX of the flags, with RES in bit 16. */
function compareScalar(helper: string, ordered: 0 | 1): Lift {
  return (x) => {
    const b = read(x, 1);
    const answer = x.call(helper, [read(x, 0), b, x.const32(ordered)]);
    const res = x.op('i64.and', [x.op('i64.shr_u', [answer, x.const64(16)]), x.const64(1)]);
    x.op('set_flags_raw', [res, x.op('i64.and', [answer, x.const64(~0x10000n)])]);
  };
}

/** HADDPx and HSUBPx: even elements of both operands against odd ones. */
function horizontal(name: 'add' | 'sub', format: 'ps' | 'pd'): Lift {
  const size = format === 'ps' ? 4 : 8;
  const even = format === 'ps' ? [0, 2, 4, 6] : [0, 2];
  return binary((x, a, b) => {
    const left = shuffleBy(x, size, a, b, even);
    const right = shuffleBy(
      x,
      size,
      a,
      b,
      even.map((i) => i + 1),
    );
    return x.call(`sse_${name}_${format}`, [left, right]);
  });
}

function approximate(root: 0 | 1, count: number): Lift {
  return binary((x, a, b) => x.call('sse_approximate', [a, b, x.const32(root), x.const32(count)]));
}

/** CVTSI2Sx: from 4 or 8 bytes. */
function fromInteger(format: 'ss' | 'sd'): Lift {
  return (x) => {
    const value = x.signExtend(x.read(1), x.binding(1).size, 8);
    x.writeVec(0, x.call(`sse_from_i64_${format}`, [x.readVec(0), value]));
  };
}

/** CVTSx2SI and CVTTSx2SI. */
function toInteger(wide: 0 | 1, truncate: 0 | 1): Lift {
  return (x) => {
    const helper = x.size === 8 ? 'sse_to_i64' : 'sse_to_i32';
    x.write(0, x.call(helper, [read(x, 1), x.const32(wide), x.const32(truncate)]));
  };
}

/** The low half of a vector, upper half zero: unused lanes then raise nothing. */
function onlyLow(x: Lifter, v: Inst): Inst {
  return shuffleBy(x, 8, v, zero(x), [0, 2]);
}

/** CVTPI2Px: an MMX register makes this an MMX instruction; it may then raise #MF. */
function fromMmx(convert: (x: Lifter, v: Inst) => Inst): Lift {
  return (x) => {
    if (isMmx(x, 1)) x.call('x87_wait');
    const result = convert(x, read(x, 1));
    if (isMmx(x, 1)) x.call('mmx_enter');
    x.writeVec(0, result);
  };
}

/** CVTPx2PI: two doublewords of a vector into an MMX register. #MF goes before what the conversion raises. */
function toMmx(wide: boolean, truncate: 0 | 1): Lift {
  return (x) => {
    x.call('x87_wait');
    const source = read(x, 1);
    const mode = x.const32(truncate);
    const result = wide
      ? x.call('sse_cvt_pd_dq', [source, mode])
      : x.call('sse_cvt_ps_dq', [onlyLow(x, source), mode]);
    write(x, 0, result);
  };
}

export const SSE_FLOAT_LIFTS: Record<string, Lift> = {
  ...arithmetic('add'),
  ...arithmetic('sub'),
  ...arithmetic('mul'),
  ...arithmetic('div'),
  ...arithmetic('sqrt'),
  ...arithmetic('min'),
  ...arithmetic('max'),
  ...compares(),
  addsubps: binary((x, a, b) => x.call('sse_addsub_ps', [a, b])),
  addsubpd: binary((x, a, b) => x.call('sse_addsub_pd', [a, b])),
  haddps: horizontal('add', 'ps'),
  haddpd: horizontal('add', 'pd'),
  hsubps: horizontal('sub', 'ps'),
  hsubpd: horizontal('sub', 'pd'),
  roundps: round('sse_round_ps', 4),
  roundpd: round('sse_round_pd', 2),
  roundss: round('sse_round_ps', 1),
  roundsd: round('sse_round_pd', 1),
  dpps: withImmediate('sse_dp_ps'),
  dppd: withImmediate('sse_dp_pd'),
  comiss: compareScalar('sse_comi_ss', 1),
  comisd: compareScalar('sse_comi_sd', 1),
  ucomiss: compareScalar('sse_comi_ss', 0),
  ucomisd: compareScalar('sse_comi_sd', 0),
  rcpps: approximate(0, 4),
  rcpss: approximate(0, 1),
  rsqrtps: approximate(1, 4),
  rsqrtss: approximate(1, 1),
  cvtsi2ss: fromInteger('ss'),
  cvtsi2sd: fromInteger('sd'),
  cvtss2si: toInteger(0, 0),
  cvtsd2si: toInteger(1, 0),
  cvttss2si: toInteger(0, 1),
  cvttsd2si: toInteger(1, 1),
  cvtps2pd: unary((x, b) => x.call('sse_cvt_ps_pd', [b])),
  cvtpd2ps: unary((x, b) => x.call('sse_cvt_pd_ps', [b])),
  cvtss2sd: binary((x, a, b) => x.call('sse_cvt_ss_sd', [a, b])),
  cvtsd2ss: binary((x, a, b) => x.call('sse_cvt_sd_ss', [a, b])),
  cvtdq2ps: unary((x, b) => x.call('sse_cvt_dq_ps', [b])),
  cvtps2dq: unary((x, b) => x.call('sse_cvt_ps_dq', [b, x.const32(0)])),
  cvttps2dq: unary((x, b) => x.call('sse_cvt_ps_dq', [b, x.const32(1)])),
  cvtpd2dq: unary((x, b) => x.call('sse_cvt_pd_dq', [b, x.const32(0)])),
  cvttpd2dq: unary((x, b) => x.call('sse_cvt_pd_dq', [b, x.const32(1)])),
  cvtdq2pd: unary((x, b) => x.op('f64x2.convert_low_i32x4_s', [b])),
  cvtpi2ps: fromMmx((x, v) =>
    mergeLow(x, 8, x.readVec(0), x.call('sse_cvt_dq_ps', [onlyLow(x, v)])),
  ),
  cvtpi2pd: fromMmx((x, v) => x.op('f64x2.convert_low_i32x4_s', [v])),
  cvtps2pi: toMmx(false, 0),
  cvttps2pi: toMmx(false, 1),
  cvtpd2pi: toMmx(true, 0),
  cvttpd2pi: toMmx(true, 1),
};
