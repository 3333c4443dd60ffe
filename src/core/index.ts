export * from './access';
export { make_room, new_block } from './block-arena';
export * from './blocks';
export * from './bytes';
export * from './code-pages';
export * from './control';
export * from './debug';
export * from './far';
export * from './hot';
export * from './integer';
export * from './interrupts';
export * from './iret';
export * from './key';
export * from './msr';
export * from './paging-registers';
export { reload_immediate } from './patched';
export { raise, raiseError as raise_error } from './raise';
export * from './reset';
export * from './segments';
export * from './sse-aes';
export * from './sse-arith';
export * from './sse-convert';
export * from './sse-integer';
export * from './sse-lanes';
export * from './sse-soft';
export * from './sse-string';
export * from './strings';
export * from './syscall';
export * from './system';
export * from './task';
export * from './templates';
export * from './tlb';
export * from './units';
export * from './x87-arith';
export * from './x87-compare';
export * from './x87-control';
export * from './x87-load';
export * from './x87-math';
export { x87_reported, x87_wait } from './x87-stack';
export {
  fninit,
  fxrstor,
  fxsave,
  ldmxcsr,
  mmx_enter,
  x87_status,
  xgetbv,
  xrstor,
  xsave,
  xsetbv,
} from './x87-state';
export * from './x87-store';
export * from './x87-transcendental';
export * from './x87-values';
