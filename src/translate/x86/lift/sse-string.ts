import type { Inst } from '#ir/block.ts';
import { S_RAX, S_RCX, S_RDX, S_XMM } from '#ir/state.ts';
import type { Lift, Lifter } from '../lifter.ts';
import { read } from './sse-operands.ts';

/** The comparison: bits 15:0 the matches, 31:16 the index, 63:32 the flags. */
function compare(x: Lifter, control: Inst, explicit: boolean): Inst {
  const b = read(x, 1);
  const a = read(x, 0);
  if (!explicit) return x.call('sse_compare_implicit', [a, b, control]);
  // The row's `arg` is REX.W: lengths are in RAX and RDX, or in EAX and EDX.
  const size = x.arg === 1 ? 8 : 4;
  const length = (register: number) => x.signExtend(x.reg(register, size), size, 8);
  return x.call('sse_compare_explicit', [a, b, control, length(S_RAX), length(S_RDX)]);
}

/** PCMPxSTRI (index to ECX) and PCMPxSTRM (mask to XMM0). */
function liftString(explicit: boolean, mask: boolean): Lift {
  return (x) => {
    const control = x.op('i32.and', [x.imm(2), x.const32(0xff)]);
    const answer = compare(x, control, explicit);
    const low = x.op('i32.wrap_i64', [answer]);
    const flags = x.op('i32.wrap_i64', [x.op('i64.shr_u', [answer, x.const64(32)])]);
    x.call('set_arithmetic_flags', [flags]);
    if (!mask) x.setReg(S_RCX, 4, x.op('i32.shr_u', [low, x.const32(16)]));
    else {
      const bits = x.op('i32.and', [low, x.const32(0xffff)]);
      x.op('setv', [x.call('sse_string_mask', [bits, control])], { slot: { fixed: S_XMM } });
    }
  };
}

export const SSE_STRING_LIFTS: Record<string, Lift> = {
  pcmpestri: liftString(true, false),
  pcmpestrm: liftString(true, true),
  pcmpistri: liftString(false, false),
  pcmpistrm: liftString(false, true),
};
