import { type InsnOptions, type InsnRow, insn } from './insn.ts';
import { SSE_FLOAT } from './sse-float.ts';
import { SSE_INTEGER } from './sse-integer.ts';

// SSE to SSE4.2. Source: Intel SDM vol. 2. Moves and shuffles here; arithmetic in the two files joined below.
const MOVES: InsnRow[] = [];

function row(opcode: number, name: string, operands: string, options: InsnOptions): void {
  // The operand size counts only for operands of size y.
  const size: InsnOptions = / ?[EGR]y/.test(operands) ? {} : { size: 4 };
  MOVES.push(insn(opcode, name, operands, { unit: 'sse', ...size, ...options }));
}

const sse: InsnOptions = { prefix: 'none', feature: 'sse' };
const sse2: InsnOptions = { prefix: 0x66, feature: 'sse2' };
const F2: InsnOptions = { prefix: 0xf2, feature: 'sse2' };
const F3: InsnOptions = { prefix: 0xf3, feature: 'sse' };
const aligned = { aligned: true };

row(0x0f10, 'movups', 'Vdq Wdq', sse);
row(0x0f11, 'movups', 'Wdq Vdq', sse);
row(0x0f10, 'movups', 'Vdq Wdq', { ...sse2, as: 'movupd' });
row(0x0f11, 'movups', 'Wdq Vdq', { ...sse2, as: 'movupd' });
row(0x0f28, 'movups', 'Vdq Wdq', { ...sse, ...aligned, as: 'movaps' });
row(0x0f29, 'movups', 'Wdq Vdq', { ...sse, ...aligned, as: 'movaps' });
row(0x0f28, 'movups', 'Vdq Wdq', { ...sse2, ...aligned, as: 'movapd' });
row(0x0f29, 'movups', 'Wdq Vdq', { ...sse2, ...aligned, as: 'movapd' });
row(0x0f6f, 'movups', 'Vdq Wdq', { ...sse2, ...aligned, as: 'movdqa' });
row(0x0f7f, 'movups', 'Wdq Vdq', { ...sse2, ...aligned, as: 'movdqa' });
row(0x0f6f, 'movups', 'Vdq Wdq', { ...F3, feature: 'sse2', as: 'movdqu' });
row(0x0f7f, 'movups', 'Wdq Vdq', { ...F3, feature: 'sse2', as: 'movdqu' });
row(0x0ff0, 'movups', 'Vdq Mdq', { ...F2, feature: 'sse3', as: 'lddqu' });
row(0x0f2b, 'movups', 'Mdq Vdq', { ...sse, ...aligned, as: 'movntps' });
row(0x0f2b, 'movups', 'Mdq Vdq', { ...sse2, ...aligned, as: 'movntpd' });
row(0x0fe7, 'movups', 'Mdq Vdq', { ...sse2, ...aligned, as: 'movntdq' });
row(0x0f382a, 'movups', 'Vdq Mdq', { ...sse2, ...aligned, feature: 'sse4.1', as: 'movntdqa' });
row(0x0f10, 'movss', 'Vd Wd', F3);
row(0x0f11, 'movss', 'Wd Vd', F3);
row(0x0f10, 'movsd_sse', 'Vq Wq', { ...F2, as: 'movsd' });
row(0x0f11, 'movsd_sse', 'Wq Vq', { ...F2, as: 'movsd' });
row(0x0f12, 'movhlps', 'Vdq Udq', sse);
row(0x0f12, 'movlps', 'Vq Mq', sse);
row(0x0f13, 'movlps', 'Mq Vq', sse);
row(0x0f12, 'movlps', 'Vq Mq', { ...sse2, as: 'movlpd' });
row(0x0f13, 'movlps', 'Mq Vq', { ...sse2, as: 'movlpd' });
row(0x0f16, 'movlhps', 'Vdq Udq', sse);
row(0x0f16, 'movhps', 'Vq Mq', sse);
row(0x0f17, 'movhps', 'Mq Vq', sse);
row(0x0f16, 'movhps', 'Vq Mq', { ...sse2, as: 'movhpd' });
row(0x0f17, 'movhps', 'Mq Vq', { ...sse2, as: 'movhpd' });
row(0x0f12, 'movsldup', 'Vdq Wdq', { ...F3, ...aligned, feature: 'sse3' });
row(0x0f16, 'movshdup', 'Vdq Wdq', { ...F3, ...aligned, feature: 'sse3' });
row(0x0f12, 'movddup', 'Vdq Wq', { ...F2, feature: 'sse3' });
row(0x0f6e, 'movd_load', 'Vdq Ey', { ...sse2, as: 'movd/movd/movq' });
row(0x0f7e, 'movd_store', 'Ey Vdq', { ...sse2, as: 'movd/movd/movq' });
row(0x0f7e, 'movq_sse', 'Vq Wq', { ...F3, feature: 'sse2', as: 'movq' });
row(0x0fd6, 'movq_sse', 'Wq Vq', { ...sse2, as: 'movq' });
row(0x0fd6, 'movq2dq', 'Vdq Nq', { ...F3, feature: 'sse2', unit: 'mmx' });
row(0x0fd6, 'movdq2q', 'Pq Uq', { ...F2, unit: 'mmx' });
row(0x0ff7, 'maskmov', 'Vdq Udq', { ...sse2, addrSize: true, as: 'maskmovdqu' });
row(0x0f50, 'movmskps', 'Gd Udq', sse);
row(0x0f50, 'movmskpd', 'Gd Udq', sse2);
row(0x0fd7, 'pmovmskb', 'Gd Udq', sse2);

// Shuffles.
row(0x0f14, 'unpcklps', 'Vdq Wdq', { ...sse, ...aligned });
row(0x0f15, 'unpckhps', 'Vdq Wdq', { ...sse, ...aligned });
row(0x0f14, 'punpcklqdq', 'Vdq Wdq', { ...sse2, ...aligned, as: 'unpcklpd' });
row(0x0f15, 'punpckhqdq', 'Vdq Wdq', { ...sse2, ...aligned, as: 'unpckhpd' });
row(0x0fc6, 'shufps', 'Vdq Wdq Ib', { ...sse, ...aligned });
row(0x0fc6, 'shufpd', 'Vdq Wdq Ib', { ...sse2, ...aligned });
row(0x0f70, 'pshufd', 'Vdq Wdq Ib', { ...sse2, ...aligned });
row(0x0f70, 'pshufhw', 'Vdq Wdq Ib', { ...F3, ...aligned, feature: 'sse2' });
row(0x0f70, 'pshuflw', 'Vdq Wdq Ib', { ...F2, ...aligned });
row(0x0fc4, 'pinsrw', 'Vdq Rd Ib', sse2);
row(0x0fc4, 'pinsrw', 'Vdq Mw Ib', sse2);
row(0x0fc5, 'pextrw', 'Gd Udq Ib', sse2);
const sse41: InsnOptions = { prefix: 0x66, feature: 'sse4.1' };
row(0x0f3a14, 'pextrb', 'Rd Vdq Ib', sse41);
row(0x0f3a14, 'pextrb', 'Mb Vdq Ib', sse41);
row(0x0f3a15, 'pextrw', 'Rd Vdq Ib', sse41);
row(0x0f3a15, 'pextrw', 'Mw Vdq Ib', sse41);
row(0x0f3a16, 'pextrd', 'Ey Vdq Ib', { ...sse41, as: 'pextrd/pextrd/pextrq' });
row(0x0f3a17, 'extractps', 'Ed Vdq Ib', sse41);
row(0x0f3a20, 'pinsrb', 'Vdq Rd Ib', sse41);
row(0x0f3a20, 'pinsrb', 'Vdq Mb Ib', sse41);
row(0x0f3a21, 'insertps', 'Vdq Wd Ib', sse41);
row(0x0f3a22, 'pinsrd', 'Vdq Ey Ib', { ...sse41, as: 'pinsrd/pinsrd/pinsrq' });
const blend = { ...sse41, ...aligned };
row(0x0f3a0c, 'blendps', 'Vdq Wdq Ib', blend);
row(0x0f3a0d, 'blendpd', 'Vdq Wdq Ib', blend);
row(0x0f3a0e, 'pblendw', 'Vdq Wdq Ib', blend);
row(0x0f3810, 'pblendvb', 'Vdq Wdq', blend);
row(0x0f3814, 'blendvps', 'Vdq Wdq', blend);
row(0x0f3815, 'blendvpd', 'Vdq Wdq', blend);
const sse42: InsnOptions = { prefix: 0x66, feature: 'sse4.2' };
for (const [opcode, name] of [
  [0x0f3a60, 'pcmpestrm'],
  [0x0f3a61, 'pcmpestri'],
] as const)
  for (const w of [0, 1] as const) row(opcode, name, 'Vdq Wdq Ib', { ...sse42, w, arg: w });
row(0x0f3a62, 'pcmpistrm', 'Vdq Wdq Ib', sse42);
row(0x0f3a63, 'pcmpistri', 'Vdq Wdq Ib', sse42);

export const SSE: readonly InsnRow[] = [...MOVES, ...SSE_INTEGER, ...SSE_FLOAT];
