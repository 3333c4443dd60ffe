import type { SegmentState, VcpuState } from '#accel/accel.ts';
import {
  S_CPL,
  S_CR0,
  S_CR2,
  S_CR3,
  S_CR4,
  S_CR8,
  S_EFER,
  S_EFLAGS,
  S_FLAGS_AUX,
  S_FLAGS_RES,
  S_GDT_BASE,
  S_GDT_LIMIT,
  S_IDT_BASE,
  S_IDT_LIMIT,
  S_REGS,
  S_RIP,
  S_SEGS,
  SEG_BASE,
  SEG_CS,
  SEG_LDTR,
  SEG_LIMIT,
  SEG_RIGHTS,
  SEG_SELECTOR,
  SEG_SIZE,
  SEG_TR,
} from '#ir/state.ts';

// The state of a virtual CPU as the contract of accel/ has it, out of and into the core's layout.

const REGISTERS = 16;
const SEGMENTS = 6;
/** CF PF AF ZF SF OF. */
const ARITHMETIC = 0x8d5;

const bit = (value: bigint, n: number) => Number((value >> BigInt(n)) & 1n);

/** The six arithmetic flags out of RES and AUX (ir/state.ts). */
export function arithmeticFlags(res: bigint, aux: bigint): number {
  const carry = bit(aux, 63);
  let parity = Number((res ^ (aux >> 8n)) & 0xffn);
  parity ^= parity >> 4;
  parity ^= parity >> 2;
  parity ^= parity >> 1;
  return (
    carry |
    ((~parity & 1) << 2) |
    (bit(aux, 3) << 4) |
    ((res === 0n ? 1 : 0) << 6) |
    ((bit(res, 63) ^ bit(aux, 0)) << 7) |
    ((carry ^ bit(aux, 62)) << 11)
  );
}

/** RES and AUX that stand for the six flags. */
function lazyFlags(flags: number): [res: bigint, aux: bigint] {
  const carry = BigInt(flags & 1);
  const zero = (flags & 0x40) !== 0;
  const overflow = BigInt((flags >> 11) & 1);
  const parity = ((flags >> 2) & 1) ^ (zero ? 1 : 0);
  const low = (((flags >> 4) & 1) << 3) | ((flags >> 7) & 1) | (parity << 8);
  return [zero ? 0n : 1n, (carry << 63n) | ((carry ^ overflow) << 62n) | BigInt(low)];
}

function readSegment(view: DataView, at: number): SegmentState {
  return {
    selector: view.getUint32(at + SEG_SELECTOR, true),
    base: view.getBigUint64(at + SEG_BASE, true),
    limit: view.getUint32(at + SEG_LIMIT, true),
    rights: view.getUint32(at + SEG_RIGHTS, true),
  };
}

function writeSegment(view: DataView, at: number, segment: SegmentState): void {
  view.setUint32(at + SEG_SELECTOR, segment.selector, true);
  view.setBigUint64(at + SEG_BASE, segment.base, true);
  view.setUint32(at + SEG_LIMIT, segment.limit, true);
  view.setUint32(at + SEG_RIGHTS, segment.rights, true);
}

const segmentAt = (cpu: number, seg: number) => cpu + S_SEGS + seg * SEG_SIZE;

/** Valid between two slices, or after a fault has been prepared: RIP is exact then. */
export function readState(memory: WebAssembly.Memory, cpu: number): VcpuState {
  const view = new DataView(memory.buffer);
  const long = (field: number) => view.getBigUint64(cpu + field, true);
  const aux = long(S_FLAGS_AUX);
  const flags = arithmeticFlags(BigInt.asUintN(64, long(S_FLAGS_RES)), aux);
  return {
    regs: Array.from({ length: REGISTERS }, (_, i) => long(S_REGS + i * 8)),
    rip: long(S_RIP),
    rflags: BigInt(view.getUint32(cpu + S_EFLAGS, true) | flags | 2),
    segments: Array.from({ length: SEGMENTS }, (_, i) => readSegment(view, segmentAt(cpu, i))),
    ldtr: readSegment(view, segmentAt(cpu, SEG_LDTR)),
    tr: readSegment(view, segmentAt(cpu, SEG_TR)),
    gdtr: { base: long(S_GDT_BASE), limit: view.getUint32(cpu + S_GDT_LIMIT, true) },
    idtr: { base: long(S_IDT_BASE), limit: view.getUint32(cpu + S_IDT_LIMIT, true) },
    cr0: long(S_CR0),
    cr2: long(S_CR2),
    cr3: long(S_CR3),
    cr4: long(S_CR4),
    cr8: long(S_CR8),
    efer: long(S_EFER),
  };
}

/** Sets what `state` names. The caller flushes the TLB and updates the key. */
export function writeState(
  memory: WebAssembly.Memory,
  cpu: number,
  state: Partial<VcpuState>,
): void {
  const view = new DataView(memory.buffer);
  const long = (field: number, value: bigint | undefined) => {
    if (value !== undefined) view.setBigUint64(cpu + field, value, true);
  };
  for (const [i, value] of state.regs?.entries() ?? []) long(S_REGS + i * 8, value);
  long(S_RIP, state.rip);
  if (state.rflags !== undefined) {
    const [res, aux] = lazyFlags(Number(state.rflags));
    long(S_FLAGS_RES, res);
    long(S_FLAGS_AUX, aux);
    view.setUint32(cpu + S_EFLAGS, (Number(state.rflags) & ~ARITHMETIC) | 2, true);
  }
  for (const [i, segment] of state.segments?.entries() ?? []) {
    writeSegment(view, segmentAt(cpu, i), segment);
  }
  if (state.segments !== undefined) {
    const cs = state.segments[SEG_CS];
    view.setUint32(
      cpu + S_CPL,
      (Number(state.cr0 ?? 0n) & 1) === 0 ? 0 : (cs?.selector ?? 0) & 3,
      true,
    );
  }
  if (state.ldtr !== undefined) writeSegment(view, segmentAt(cpu, SEG_LDTR), state.ldtr);
  if (state.tr !== undefined) writeSegment(view, segmentAt(cpu, SEG_TR), state.tr);
  for (const [base, limit, table] of [
    [S_GDT_BASE, S_GDT_LIMIT, state.gdtr],
    [S_IDT_BASE, S_IDT_LIMIT, state.idtr],
  ] as const) {
    if (table === undefined) continue;
    long(base, table.base);
    view.setUint32(cpu + limit, table.limit, true);
  }
  const registers = [
    [S_CR0, state.cr0],
    [S_CR2, state.cr2],
    [S_CR3, state.cr3],
    [S_CR4, state.cr4],
    [S_CR8, state.cr8],
    [S_EFER, state.efer],
  ] as const;
  for (const [field, value] of registers) long(field, value);
}
