import { parseHelpers } from '#ir/helpers.ts';

const FORMATS = ['ps', 'pd', 'ss', 'sd'];

export const SSE_HELPERS = parseHelpers(`
  check_aligned(l) -
  ${['add', 'sub', 'mul', 'div', 'sqrt', 'min', 'max'].flatMap((op) => FORMATS.map((f) => `sse_${op}_${f}(vv) v`)).join('\n')}
  ${FORMATS.map((f) => `sse_cmp_${f}(vvi) v`).join('\n')}
  sse_addsub_ps(vv) v
  sse_addsub_pd(vv) v
  sse_comi_ss(vvi) l
  sse_comi_sd(vvi) l
  sse_round_ps(vvii) v
  sse_round_pd(vvii) v
  sse_dp_ps(vvi) v
  sse_dp_pd(vvi) v
  sse_to_i32(vii) i
  sse_to_i64(vii) l
  sse_from_i64_ss(vl) v
  sse_from_i64_sd(vl) v
  sse_cvt_sd_ss(vv) v
  sse_cvt_ss_sd(vv) v
  sse_cvt_pd_ps(v) v
  sse_cvt_ps_pd(v) v
  sse_cvt_ps_dq(vi) v
  sse_cvt_dq_ps(v) v
  sse_cvt_pd_dq(vi) v
  sse_approximate(vvii) v
  sse_compare_explicit(vvill) l
  sse_compare_implicit(vvi) l
  sse_string_mask(ii) v
  sse_mpsadbw(vvi) v
  sse_phminposuw(v) v
  sse_masked_store(illvv) -
  sse_pclmulqdq(vvi) v
  sse_aesenc(vvi) v
  sse_aesdec(vvi) v
  sse_aesimc(v) v
  sse_aeskeygenassist(vi) v
`);
