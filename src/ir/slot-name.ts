import {
  S_EA,
  S_FPU_REGS,
  S_REGS,
  S_SEGS,
  S_XMM,
  S_ZERO,
  SEG_BASE,
  SEG_LIMIT,
  SEG_RIGHTS,
  SEG_SELECTOR,
  SEG_SIZE,
} from './state.ts';

const GENERAL = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi'];
const REGISTERS = 16;
const GENERAL_BYTES = 8;
const XMM_BYTES = 16;
const MMX_REGISTERS = 8;
const SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs', 'ldtr', 'tr'];
const SEGMENT_FIELDS = new Map([
  [SEG_BASE, 'base'],
  [SEG_LIMIT, 'limit'],
  [SEG_RIGHTS, 'rights'],
  [SEG_SELECTOR, 'selector'],
]);

/** Offset into one of `count` things of `bytes` each from `first` on. */
function inside(offset: number, first: number, count: number, bytes: number) {
  const at = offset - first;
  if (at < 0 || at >= count * bytes) return undefined;
  return { number: Math.floor(at / bytes), byte: at % bytes };
}

function part(name: string, byte: number): string {
  return byte === 0 ? name : `${name}+${byte}`;
}

/** What lies at an offset of the CPU's state, for people: `rax`, `xmm3+8`, `fs.base`; the offset itself where it has no name. */
export function slotName(offset: number): string {
  if (offset === S_ZERO) return 'zero';
  if (offset === S_EA) return 'ea';
  const general = inside(offset, S_REGS, REGISTERS, GENERAL_BYTES);
  if (general !== undefined)
    return part(GENERAL[general.number] ?? `r${general.number}`, general.byte);
  const xmm = inside(offset, S_XMM, REGISTERS, XMM_BYTES);
  if (xmm !== undefined) return part(`xmm${xmm.number}`, xmm.byte);
  const mmx = inside(offset, S_FPU_REGS, MMX_REGISTERS, XMM_BYTES);
  if (mmx !== undefined) return part(`mm${mmx.number}`, mmx.byte);
  const segment = inside(offset, S_SEGS, SEGMENTS.length, SEG_SIZE);
  if (segment === undefined) return `state+${offset}`;
  const name = SEGMENTS[segment.number] ?? '';
  return `${name}.${SEGMENT_FIELDS.get(segment.byte) ?? segment.byte}`;
}
