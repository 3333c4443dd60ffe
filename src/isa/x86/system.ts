import { type InsnRow, insn } from './insn.ts';

// Instructions of operating systems, and all that load segment registers. Source: Intel SDM vol. 2.
// Operand size p is a far pointer (offset and selector), s what LGDT loads (6 or 10 bytes).

const NO_CS = [0, 2, 3, 4, 5];
const SEGMENTS = [0, 1, 2, 3, 4, 5];
const ES = 0;
const CS = 1;
const SS = 2;
const DS = 3;
const FS = 4;
const GS = 5;
const LDTR = 6;
const TR = 7;

const segmentMoves: readonly InsnRow[] = [
  ...NO_CS.map((arg) => insn(0x8e, 'mov_to_sreg', 'Ew', { reg: arg, arg, ends: true, as: 'mov' })),
  ...SEGMENTS.flatMap((arg) => [
    insn(0x8c, 'mov_from_sreg', 'Mw', { reg: arg, arg, mod: 'mem', as: 'mov' }),
    insn(0x8c, 'mov_from_sreg', 'Rv', { reg: arg, arg, mod: 'reg', as: 'mov' }),
  ]),
  insn(0x06, 'push_sreg', '', { arg: ES, not64: true, stack: true, as: 'push' }),
  insn(0x0e, 'push_sreg', '', { arg: CS, not64: true, stack: true, as: 'push' }),
  insn(0x16, 'push_sreg', '', { arg: SS, not64: true, stack: true, as: 'push' }),
  insn(0x1e, 'push_sreg', '', { arg: DS, not64: true, stack: true, as: 'push' }),
  insn(0x0fa0, 'push_sreg', '', { arg: FS, default64: true, stack: true, as: 'push' }),
  insn(0x0fa8, 'push_sreg', '', { arg: GS, default64: true, stack: true, as: 'push' }),
  insn(0x07, 'pop_sreg', '', { arg: ES, not64: true, stack: true, ends: true, as: 'pop' }),
  insn(0x17, 'pop_sreg', '', { arg: SS, not64: true, stack: true, ends: true, as: 'pop' }),
  insn(0x1f, 'pop_sreg', '', { arg: DS, not64: true, stack: true, ends: true, as: 'pop' }),
  insn(0x0fa1, 'pop_sreg', '', { arg: FS, default64: true, stack: true, ends: true, as: 'pop' }),
  insn(0x0fa9, 'pop_sreg', '', { arg: GS, default64: true, stack: true, ends: true, as: 'pop' }),
  insn(0xc4, 'load_far', 'Gv Mp', { arg: ES, not64: true, ends: true, as: 'les' }),
  insn(0xc5, 'load_far', 'Gv Mp', { arg: DS, not64: true, ends: true, as: 'lds' }),
  insn(0x0fb2, 'load_far', 'Gv Mp', { arg: SS, ends: true, as: 'lss' }),
  insn(0x0fb4, 'load_far', 'Gv Mp', { arg: FS, ends: true, as: 'lfs' }),
  insn(0x0fb5, 'load_far', 'Gv Mp', { arg: GS, ends: true, as: 'lgs' }),
];

const transfers: readonly InsnRow[] = [
  insn(0x9a, 'call_far', 'Ap', { not64: true, ends: true, as: 'call' }),
  insn(0xea, 'jmp_far', 'Ap', { not64: true, ends: true, as: 'jmp' }),
  insn(0xff, 'call_far', 'Mp', { reg: 3, ends: true, as: 'call' }),
  insn(0xff, 'jmp_far', 'Mp', { reg: 5, ends: true, as: 'jmp' }),
  insn(0xca, 'retf', 'Iw', { ends: true, as: 'retfw/retf/retfq' }),
  insn(0xcb, 'retf', '', { ends: true, as: 'retfw/retf/retfq' }),
  insn(0xcf, 'iret', '', { ends: true, as: 'iretw/iret/iretq' }),
  insn(0xcc, 'int3', '', { ends: true }),
  insn(0xcd, 'int', 'Ib', { ends: true }),
  insn(0xce, 'into', '', { not64: true, ends: true }),
  insn(0xf1, 'int1', '', { ends: true }),
  insn(0x0f05, 'syscall', '', { feature: 'syscall', ends: true }),
  insn(0x0f07, 'sysret', '', { feature: 'syscall', ends: true, as: 'sysretw/sysretd/sysretq' }),
  insn(0x0f34, 'sysenter', '', { feature: 'sep', ends: true }),
  insn(0x0f35, 'sysexit', '', { feature: 'sep', ends: true, as: 'sysexit/sysexitd/sysexitq' }),
];

const tables: readonly InsnRow[] = [
  insn(0x0f00, 'store_system', 'Mw', {
    reg: 0,
    arg: LDTR,
    mod: 'mem',
    protectedOnly: true,
    as: 'sldt',
  }),
  insn(0x0f00, 'store_system', 'Rv', {
    reg: 0,
    arg: LDTR,
    mod: 'reg',
    protectedOnly: true,
    as: 'sldt',
  }),
  insn(0x0f00, 'store_system', 'Mw', {
    reg: 1,
    arg: TR,
    mod: 'mem',
    protectedOnly: true,
    as: 'str',
  }),
  insn(0x0f00, 'store_system', 'Rv', {
    reg: 1,
    arg: TR,
    mod: 'reg',
    protectedOnly: true,
    as: 'str',
  }),
  insn(0x0f00, 'lldt', 'Ew', { reg: 2, protectedOnly: true }),
  insn(0x0f00, 'ltr', 'Ew', { reg: 3, protectedOnly: true }),
  insn(0x0f00, 'verify_segment', 'Ew', { reg: 4, arg: 0, protectedOnly: true, as: 'verr' }),
  insn(0x0f00, 'verify_segment', 'Ew', { reg: 5, arg: 1, protectedOnly: true, as: 'verw' }),
  insn(0x0f01, 'store_table', 'Ms', { reg: 0, arg: 0, mod: 'mem', force64: true, as: 'sgdt' }),
  insn(0x0f01, 'store_table', 'Ms', { reg: 1, arg: 1, mod: 'mem', force64: true, as: 'sidt' }),
  insn(0x0f01, 'load_table', 'Ms', { reg: 2, arg: 0, mod: 'mem', force64: true, as: 'lgdt' }),
  insn(0x0f01, 'load_table', 'Ms', { reg: 3, arg: 1, mod: 'mem', force64: true, as: 'lidt' }),
  insn(0x0f02, 'lar', 'Gv Ew', { protectedOnly: true }),
  insn(0x0f03, 'lsl', 'Gv Ew', { protectedOnly: true }),
  insn(0x63, 'arpl', 'Ew Gw', { not64: true, protectedOnly: true }),
];

const registers: readonly InsnRow[] = [
  insn(0x0f20, 'mov_from_cr', 'Rq Cd', { only64: true, size: 8, as: 'mov' }),
  insn(0x0f20, 'mov_from_cr', 'Rd Cd', { not64: true, size: 4, as: 'mov' }),
  insn(0x0f21, 'mov_from_dr', 'Rq Dd', { only64: true, size: 8, as: 'mov' }),
  insn(0x0f21, 'mov_from_dr', 'Rd Dd', { not64: true, size: 4, as: 'mov' }),
  insn(0x0f22, 'mov_to_cr', 'Cd Rq', { only64: true, size: 8, ends: true, as: 'mov' }),
  insn(0x0f22, 'mov_to_cr', 'Cd Rd', { not64: true, size: 4, ends: true, as: 'mov' }),
  insn(0x0f23, 'mov_to_dr', 'Dd Rq', { only64: true, size: 8, ends: true, as: 'mov' }),
  insn(0x0f23, 'mov_to_dr', 'Dd Rd', { not64: true, size: 4, ends: true, as: 'mov' }),
  insn(0x0f01, 'smsw', 'Mw', { reg: 4, mod: 'mem' }),
  insn(0x0f01, 'smsw', 'Rv', { reg: 4, mod: 'reg' }),
  insn(0x0f01, 'lmsw', 'Ew', { reg: 6, ends: true }),
  insn(0x0f06, 'clts', '', { ends: true }),
  insn(0x0f01, 'invlpg', 'M', { reg: 7, mod: 'mem', ends: true }),
  insn(0x0f3882, 'invpcid', 'Gq Mdq', {
    prefix: 0x66,
    only64: true,
    size: 8,
    feature: 'invpcid',
    ends: true,
  }),
  insn(0x0f3882, 'invpcid', 'Gd Mdq', {
    prefix: 0x66,
    not64: true,
    size: 4,
    feature: 'invpcid',
    ends: true,
  }),
  insn(0x0f30, 'wrmsr', '', { ends: true }),
  insn(0x0f32, 'rdmsr'),
  insn(0x0f01, 'swapgs', '', { reg: 7, rm: 0, only64: true }),
  insn(0x0fae, 'read_segment_base', 'Ry', {
    reg: 0,
    arg: FS,
    as: 'rdfsbase',
    mod: 'reg',
    prefix: 0xf3,
    only64: true,
    feature: 'fsgsbase',
  }),
  insn(0x0fae, 'read_segment_base', 'Ry', {
    reg: 1,
    arg: GS,
    as: 'rdgsbase',
    mod: 'reg',
    prefix: 0xf3,
    only64: true,
    feature: 'fsgsbase',
  }),
  insn(0x0fae, 'write_segment_base', 'Ry', {
    reg: 2,
    arg: FS,
    as: 'wrfsbase',
    mod: 'reg',
    prefix: 0xf3,
    only64: true,
    feature: 'fsgsbase',
  }),
  insn(0x0fae, 'write_segment_base', 'Ry', {
    reg: 3,
    arg: GS,
    as: 'wrgsbase',
    mod: 'reg',
    prefix: 0xf3,
    only64: true,
    feature: 'fsgsbase',
  }),
];

const rest: readonly InsnRow[] = [
  insn(0x9c, 'pushf', '', { default64: true, stack: true, as: 'pushfw/pushf/pushf' }),
  insn(0x9d, 'popf', '', { default64: true, stack: true, ends: true, as: 'popfw/popf/popf' }),
  insn(0xfa, 'cli'),
  insn(0xfb, 'sti', '', { ends: true }),
  insn(0x0f01, 'set_ac', '', { reg: 1, rm: 2, arg: 0, feature: 'smap', as: 'clac' }),
  insn(0x0f01, 'set_ac', '', { reg: 1, rm: 3, arg: 1, feature: 'smap', as: 'stac' }),
  insn(0xf4, 'hlt', '', { ends: true }),
  // arg: 1 for a byte, 0 for the operand size.
  insn(0xe4, 'in', 'Ib', { arg: 1 }),
  insn(0xe5, 'in', 'Ib', { arg: 0 }),
  insn(0xec, 'in', 'DX', { arg: 1 }),
  insn(0xed, 'in', 'DX', { arg: 0 }),
  insn(0xe6, 'out', 'Ib', { arg: 1 }),
  insn(0xe7, 'out', 'Ib', { arg: 0 }),
  insn(0xee, 'out', 'DX', { arg: 1 }),
  insn(0xef, 'out', 'DX', { arg: 0 }),
  insn(0x0f31, 'rdtsc'),
  insn(0x0f01, 'rdtscp', '', { reg: 7, rm: 1, feature: 'rdtscp' }),
  insn(0x0f33, 'rdpmc'),
  insn(0x0fa2, 'cpuid'),
  insn(0x0fc7, 'random', 'Rv', { reg: 6, mod: 'reg', feature: 'rdrand', as: 'rdrand' }),
  insn(0x0fc7, 'random', 'Rv', { reg: 7, mod: 'reg', feature: 'rdseed', as: 'rdseed' }),
  insn(0x0f08, 'cache', '', { arg: 0, as: 'invd' }),
  insn(0x0f09, 'cache', '', { arg: 0, as: 'wbinvd' }),
  insn(0x0f01, 'monitor', '', { reg: 1, rm: 0, feature: 'monitor' }),
  insn(0x0f01, 'mwait', '', { reg: 1, rm: 1, feature: 'monitor' }),
];

export const SYSTEM: readonly InsnRow[] = [
  ...segmentMoves,
  ...transfers,
  ...tables,
  ...registers,
  ...rest,
];
