import { type Feature, type InsnOptions, type InsnRow, insn } from './insn.ts';

// Packed integers. Source: Intel SDM vol. 2. Most exist for MMX registers without a prefix and for XMM registers with 66.
const xmm: InsnRow[] = [];
const mmx: InsnRow[] = [];

const XMM: InsnOptions = { prefix: 0x66, unit: 'sse', size: 4, aligned: true };
const MMX: InsnOptions = { prefix: 'none', unit: 'mmx', size: 4 };

function onlyXmm(
  list: string,
  feature: Feature,
  operands = 'Vdq Wdq',
  options: InsnOptions = XMM,
): void {
  for (const [opcode, name] of entries(list))
    xmm.push(insn(opcode, name, operands, { ...options, feature }));
}

/** `mmxFeature` brought the MMX form, `xmmFeature` the XMM one. */
function both(list: string, mmxFeature: Feature, xmmFeature: Feature, immediate = ''): void {
  onlyXmm(list, xmmFeature, `Vdq Wdq${immediate}`);
  for (const [opcode, name] of entries(list))
    mmx.push(insn(opcode, name, `Pq Qq${immediate}`, { ...MMX, feature: mmxFeature }));
}

/** `opcode name` pairs; opcodes in hexadecimal. */
function entries(list: string): [number, string][] {
  const words = list.trim().split(/\s+/);
  return words.flatMap((word, i) =>
    i % 2 === 0 ? [[Number.parseInt(word, 16), words[i + 1] ?? ''] as [number, string]] : [],
  );
}

both(
  `
  0f63 packsswb 0f64 pcmpgtb 0f65 pcmpgtw 0f66 pcmpgtd 0f67 packuswb
  0f68 punpckhbw 0f69 punpckhwd 0f6a punpckhdq 0f6b packssdw 0f74 pcmpeqb 0f75 pcmpeqw 0f76 pcmpeqd
  0fd1 psrlw 0fd2 psrld 0fd3 psrlq 0fd5 pmullw 0fd8 psubusb 0fd9 psubusw 0fdb pand 0fdc paddusb 0fdd paddusw 0fdf pandn
  0fe1 psraw 0fe2 psrad 0fe5 pmulhw 0fe8 psubsb 0fe9 psubsw 0feb por 0fec paddsb 0fed paddsw 0fef pxor
  0ff1 psllw 0ff2 pslld 0ff3 psllq 0ff5 pmaddwd 0ff8 psubb 0ff9 psubw 0ffa psubd 0ffc paddb 0ffd paddw 0ffe paddd
`,
  'mmx',
  'sse2',
);
both('0fd4 paddq 0ff4 pmuludq 0ffb psubq', 'sse2', 'sse2');
both(
  `
  0fda pminub 0fde pmaxub 0fe0 pavgb 0fe3 pavgw 0fe4 pmulhuw 0fea pminsw 0fee pmaxsw 0ff6 psadbw
`,
  'sse',
  'sse2',
);
both(
  `
  0f3800 pshufb 0f3801 phaddw 0f3802 phaddd 0f3803 phaddsw 0f3804 pmaddubsw 0f3805 phsubw 0f3806 phsubd 0f3807 phsubsw
  0f3808 psignb 0f3809 psignw 0f380a psignd 0f380b pmulhrsw 0f381c pabsb 0f381d pabsw 0f381e pabsd
`,
  'ssse3',
  'ssse3',
);
both('0f3a0f palignr', 'ssse3', 'ssse3', ' Ib');
// MMX reads just the half that it uses of a memory operand.
const LOW = '0f60 punpcklbw 0f61 punpcklwd 0f62 punpckldq';
onlyXmm(LOW, 'sse2');
for (const [opcode, name] of entries(LOW))
  mmx.push(insn(opcode, name, 'Pq Qd', { ...MMX, feature: 'mmx' }));
onlyXmm('0f6c punpcklqdq 0f6d punpckhqdq', 'sse2');
onlyXmm(
  `
  0f3828 pmuldq 0f3829 pcmpeqq 0f382b packusdw 0f3838 pminsb 0f3839 pminsd 0f383a pminuw 0f383b pminud
  0f383c pmaxsb 0f383d pmaxsd 0f383e pmaxuw 0f383f pmaxud 0f3840 pmulld 0f3841 phminposuw 0f3817 ptest
`,
  'sse4.1',
);
onlyXmm('0f3a42 mpsadbw', 'sse4.1', 'Vdq Wdq Ib');
onlyXmm('0f3837 pcmpgtq', 'sse4.2');
onlyXmm('0f3a44 pclmulqdq', 'pclmul', 'Vdq Wdq Ib');
onlyXmm('0f38db aesimc 0f38dc aesenc 0f38dd aesenclast 0f38de aesdec 0f38df aesdeclast', 'aes');
onlyXmm('0f3adf aeskeygenassist', 'aes', 'Vdq Wdq Ib');

// The bitwise operations of single and double precision are those of integers.
for (const [opcode, name] of entries('0f54 pand 0f55 pandn 0f56 por 0f57 pxor')) {
  const as = name.slice(1);
  const single: InsnOptions = { ...XMM, prefix: 'none', feature: 'sse', as: `${as}ps` };
  xmm.push(insn(opcode, name, 'Vdq Wdq', single));
  xmm.push(insn(opcode, name, 'Vdq Wdq', { ...XMM, feature: 'sse2', as: `${as}pd` }));
}

const NARROW: InsnOptions = { ...XMM, aligned: false };
onlyXmm(
  '0f3820 pmovsxbw 0f3823 pmovsxwd 0f3825 pmovsxdq 0f3830 pmovzxbw 0f3833 pmovzxwd 0f3835 pmovzxdq',
  'sse4.1',
  'Vdq Wq',
  NARROW,
);
onlyXmm(
  '0f3821 pmovsxbd 0f3824 pmovsxwq 0f3831 pmovzxbd 0f3834 pmovzxwq',
  'sse4.1',
  'Vdq Wd',
  NARROW,
);
onlyXmm('0f3822 pmovsxbq 0f3832 pmovzxbq', 'sse4.1', 'Vdq Ww', NARROW);

// Shifts by an immediate: groups 12, 13 and 14.
for (const [opcode, reg, name] of [
  [0x0f71, 2, 'psrlw'],
  [0x0f71, 4, 'psraw'],
  [0x0f71, 6, 'psllw'],
  [0x0f72, 2, 'psrld'],
  [0x0f72, 4, 'psrad'],
  [0x0f72, 6, 'pslld'],
  [0x0f73, 2, 'psrlq'],
  [0x0f73, 6, 'psllq'],
] as const) {
  xmm.push(insn(opcode, name, 'Udq Ib', { ...NARROW, reg, feature: 'sse2' }));
  mmx.push(insn(opcode, name, 'Nq Ib', { ...MMX, reg, feature: 'mmx' }));
}
xmm.push(insn(0x0f73, 'psrldq', 'Udq Ib', { ...NARROW, reg: 3, feature: 'sse2' }));
xmm.push(insn(0x0f73, 'pslldq', 'Udq Ib', { ...NARROW, reg: 7, feature: 'sse2' }));

export const SSE_INTEGER: readonly InsnRow[] = xmm;
export const MMX_INTEGER: readonly InsnRow[] = mmx;
