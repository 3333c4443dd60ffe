import { type InsnOptions, type InsnRow, insn } from './insn.ts';
import { MMX_INTEGER } from './sse-integer.ts';

// MMX, and what SSE added to it. Source: Intel SDM vol. 2. Arithmetic shares its rows with SSE: sse-integer.ts.
const mmx: InsnOptions = { prefix: 'none', unit: 'mmx', feature: 'mmx' };
const sse: InsnOptions = { prefix: 'none', unit: 'mmx', feature: 'sse', size: 4 };

export const MMX: readonly InsnRow[] = [
  ...MMX_INTEGER,
  insn(0x0f77, 'emms', '', { ...mmx, size: 4 }),
  insn(0x0f6e, 'movd_load', 'Pq Ey', { ...mmx, as: 'movd/movd/movq' }),
  insn(0x0f7e, 'movd_store', 'Ey Pq', { ...mmx, as: 'movd/movd/movq' }),
  insn(0x0f6f, 'movq_mmx', 'Pq Qq', { ...mmx, size: 4, as: 'movq' }),
  insn(0x0f7f, 'movq_mmx', 'Qq Pq', { ...mmx, size: 4, as: 'movq' }),
  insn(0x0fe7, 'movq_mmx', 'Mq Pq', { ...sse, as: 'movntq' }),
  insn(0x0ff7, 'maskmov', 'Pq Nq', { ...sse, addrSize: true, as: 'maskmovq' }),
  insn(0x0fd7, 'pmovmskb', 'Gd Nq', sse),
  insn(0x0f70, 'pshufw', 'Pq Qq Ib', sse),
  insn(0x0fc4, 'pinsrw', 'Pq Rd Ib', sse),
  insn(0x0fc4, 'pinsrw', 'Pq Mw Ib', sse),
  insn(0x0fc5, 'pextrw', 'Gd Nq Ib', sse),
];
