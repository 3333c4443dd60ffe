import { parseHelpers } from '#ir/helpers.ts';

export const X87_HELPERS = parseHelpers(`
  mmx_enter() -
  fninit() -
  x87_status() i
  ldmxcsr(i) -
  fxsave(li) -
  fxrstor(li) -
  xsave(li) -
  xrstor(li) -
  xgetbv() -
  xsetbv() -
`);
