import { type InsnOptions, type InsnRow, insn } from './insn.ts';

// Floating point of SSE to SSE4.1. Source: Intel SDM vol. 2. `arg` is what the lift of a family tells its rows apart by.
const rows: InsnRow[] = [];

function row(opcode: number, name: string, operands: string, options: InsnOptions): void {
  const size: InsnOptions = / ?[EGR]y/.test(operands) ? {} : { size: 4 };
  rows.push(insn(opcode, name, operands, { unit: 'sse', ...size, ...options }));
}

const ps: InsnOptions = { prefix: 'none', feature: 'sse', aligned: true };
const pd: InsnOptions = { prefix: 0x66, feature: 'sse2', aligned: true };
const ss: InsnOptions = { prefix: 0xf3, feature: 'sse' };
const sd: InsnOptions = { prefix: 0xf2, feature: 'sse2' };

function fourFormats(opcode: number, name: string, immediate = '', as = name): void {
  row(opcode, `${name}ps`, `Vdq Wdq${immediate}`, { ...ps, as: `${as}ps` });
  row(opcode, `${name}pd`, `Vdq Wdq${immediate}`, { ...pd, as: `${as}pd` });
  row(opcode, `${name}ss`, `Vd Wd${immediate}`, { ...ss, as: `${as}ss` });
  row(opcode, `${name}sd`, `Vq Wq${immediate}`, { ...sd, as: `${as}sd` });
}

fourFormats(0x0f51, 'sqrt');
fourFormats(0x0f58, 'add');
fourFormats(0x0f59, 'mul');
fourFormats(0x0f5c, 'sub');
fourFormats(0x0f5d, 'min');
fourFormats(0x0f5e, 'div');
fourFormats(0x0f5f, 'max');
fourFormats(0x0fc2, 'fcmp', ' Ib', 'cmp');
row(0x0f52, 'rsqrtps', 'Vdq Wdq', ps);
row(0x0f52, 'rsqrtss', 'Vd Wd', ss);
row(0x0f53, 'rcpps', 'Vdq Wdq', ps);
row(0x0f53, 'rcpss', 'Vd Wd', ss);
row(0x0f2e, 'ucomiss', 'Vd Wd', { ...ps, aligned: false });
row(0x0f2e, 'ucomisd', 'Vq Wq', { ...pd, aligned: false });
row(0x0f2f, 'comiss', 'Vd Wd', { ...ps, aligned: false });
row(0x0f2f, 'comisd', 'Vq Wq', { ...pd, aligned: false });

const sse3 = { feature: 'sse3', aligned: true } as const;
row(0x0fd0, 'addsubpd', 'Vdq Wdq', { ...pd, ...sse3 });
row(0x0fd0, 'addsubps', 'Vdq Wdq', { ...sd, ...sse3 });
row(0x0f7c, 'haddpd', 'Vdq Wdq', { ...pd, ...sse3 });
row(0x0f7c, 'haddps', 'Vdq Wdq', { ...sd, ...sse3 });
row(0x0f7d, 'hsubpd', 'Vdq Wdq', { ...pd, ...sse3 });
row(0x0f7d, 'hsubps', 'Vdq Wdq', { ...sd, ...sse3 });

const sse41 = { prefix: 0x66, feature: 'sse4.1' } as const;
row(0x0f3a08, 'roundps', 'Vdq Wdq Ib', { ...sse41, aligned: true });
row(0x0f3a09, 'roundpd', 'Vdq Wdq Ib', { ...sse41, aligned: true });
row(0x0f3a0a, 'roundss', 'Vd Wd Ib', sse41);
row(0x0f3a0b, 'roundsd', 'Vq Wq Ib', sse41);
row(0x0f3a40, 'dpps', 'Vdq Wdq Ib', { ...sse41, aligned: true });
row(0x0f3a41, 'dppd', 'Vdq Wdq Ib', { ...sse41, aligned: true });

// Conversions.
row(0x0f2a, 'cvtsi2ss', 'Vd Ey', ss);
row(0x0f2a, 'cvtsi2sd', 'Vq Ey', sd);
row(0x0f2c, 'cvttss2si', 'Gy Wd', ss);
row(0x0f2c, 'cvttsd2si', 'Gy Wq', sd);
row(0x0f2d, 'cvtss2si', 'Gy Wd', ss);
row(0x0f2d, 'cvtsd2si', 'Gy Wq', sd);
row(0x0f5a, 'cvtps2pd', 'Vdq Wq', { ...ps, feature: 'sse2', aligned: false });
row(0x0f5a, 'cvtpd2ps', 'Vdq Wdq', pd);
row(0x0f5a, 'cvtss2sd', 'Vdq Wd', { ...ss, feature: 'sse2' });
row(0x0f5a, 'cvtsd2ss', 'Vdq Wq', sd);
row(0x0f5b, 'cvtdq2ps', 'Vdq Wdq', { ...ps, feature: 'sse2' });
row(0x0f5b, 'cvtps2dq', 'Vdq Wdq', pd);
row(0x0f5b, 'cvttps2dq', 'Vdq Wdq', { ...ss, feature: 'sse2', aligned: true });
row(0x0fe6, 'cvttpd2dq', 'Vdq Wdq', pd);
row(0x0fe6, 'cvtpd2dq', 'Vdq Wdq', { ...sd, aligned: true });
row(0x0fe6, 'cvtdq2pd', 'Vdq Wq', { ...ss, feature: 'sse2' });

// Between MMX and XMM. With the source in memory CVTPI2Px is no MMX instruction: it leaves the x87 state alone.
row(0x0f2a, 'cvtpi2ps', 'Vdq Nq', { ...ps, unit: 'mmx', aligned: false });
row(0x0f2a, 'cvtpi2ps', 'Vdq Mq', { ...ps, aligned: false });
row(0x0f2a, 'cvtpi2pd', 'Vdq Nq', { ...pd, unit: 'mmx', aligned: false });
row(0x0f2a, 'cvtpi2pd', 'Vdq Mq', { ...pd, aligned: false });
row(0x0f2c, 'cvttps2pi', 'Pq Wq', { ...ps, unit: 'mmx', aligned: false });
row(0x0f2d, 'cvtps2pi', 'Pq Wq', { ...ps, unit: 'mmx', aligned: false });
row(0x0f2c, 'cvttpd2pi', 'Pq Wdq', { ...pd, unit: 'mmx' });
row(0x0f2d, 'cvtpd2pi', 'Pq Wdq', { ...pd, unit: 'mmx' });

export const SSE_FLOAT: readonly InsnRow[] = rows;
