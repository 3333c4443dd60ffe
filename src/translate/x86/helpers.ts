import { type Helper, parseHelpers } from '#ir/helpers.ts';
import { SSE_HELPERS } from './helpers-sse.ts';
import { SYSTEM_HELPERS } from './helpers-system.ts';
import { X87_HELPERS } from './helpers-x87.ts';

/** Functions of core/ that lifts call. */
export const HELPERS: Readonly<Record<string, Helper>> = {
  ...parseHelpers(`
    raise(i) -
    raise_error(ii) -
    reload_immediate(i) -
    div8(i) -
    div16(i) -
    div32(i) -
    div64(l) -
    idiv8(i) -
    idiv16(i) -
    idiv32(i) -
    idiv64(l) -
    cmpxchg16b(l) -
    daa() -
    das() -
    aaa() -
    aas() -
    aam(i) -
    aad(i) -
    rcl(lii) l
    rcr(lii) l
    bit_address(lli) l
    crc32c(ili) i
    fence() -
    arithmetic_flags() i
    set_arithmetic_flags(i) -
    enter(iiii) -
    movs(iii) i
    cmps(iii) i
    stos(iii) i
    lods(iii) i
    scas(iii) i
    ins(iii) i
    outs(iii) i
  `),
  ...SYSTEM_HELPERS,
  ...X87_HELPERS,
  ...SSE_HELPERS,
};
