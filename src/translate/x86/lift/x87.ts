import { S_FPU_CONTROL, S_MXCSR } from '#ir/state.ts';
import type { Lift, Lifter } from '../lifter.ts';

function area(name: string): Lift {
  return (x: Lifter) => {
    const mode = (x.opSize === 8 ? 1 : 0) | (x.cx.codeSize === 8 ? 2 : 0);
    x.call(name, [x.address(), x.const32(mode)]);
  };
}

export const X87_LIFTS: Record<string, Lift> = {
  fninit: (x) => void x.call('fninit'),
  fnstcw: (x) => x.write(0, x.reg(S_FPU_CONTROL, 2)),
  fldcw: (x) => x.op('set32', [x.read(0)], { slot: { fixed: S_FPU_CONTROL } }),
  fnstsw: (x) => x.write(0, x.call('x87_status')),
  fwait: () => {},
  fxsave: area('fxsave'),
  fxrstor: area('fxrstor'),
  ldmxcsr: (x) => void x.call('ldmxcsr', [x.read(0)]),
  stmxcsr: (x) => x.write(0, x.reg(S_MXCSR, 4)),
  xsave: area('xsave'),
  xrstor: area('xrstor'),
  xgetbv: (x) => void x.call('xgetbv'),
  xsetbv: (x) => void x.call('xsetbv'),
};
