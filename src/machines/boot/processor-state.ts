import type { SegmentState, VcpuState } from '#accel/accel.ts';
import type { Placement } from './plan-types.ts';

// The state in which boot protocols hand a processor over: flat segments, interrupts off.

/** Where the loader keeps its descriptor table and page tables: below the kernel, in RAM that the map gives as free. */
const GDT = 0x500;
const PAGE_TABLES = 0x70000;
const GIB = 2 ** 30;
/** Page tables cover this much, identity-mapped: all that a machine's RAM and devices take. */
const MAPPED_GIB = 4;

const CODE_SELECTOR = 0x10;
const DATA_SELECTOR = 0x18;
const CODE32 = 0xc09b;
const CODE64 = 0xa09b;
const DATA = 0xc093;
const FLAT_LIMIT = 0xffff_ffff;

const CR0_PE = 1n;
const CR0_ET = 1n << 4n;
const CR0_PG = 1n << 31n;
const CR4_PAE = 1n << 5n;
const EFER_LME = 1n << 8n;
const EFER_LMA = 1n << 10n;

function descriptor(rights: number): bigint {
  // Base 0, limit 0xfffff in units that `rights` gives.
  return 0xffffn | (BigInt(rights & 0xff) << 40n) | (0xfn << 48n) | (BigInt(rights >> 12) << 52n);
}

function gdt(code: number): Placement {
  const bytes = new Uint8Array(32);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(CODE_SELECTOR, descriptor(code), true);
  view.setBigUint64(DATA_SELECTOR, descriptor(DATA), true);
  return { paddr: GDT, bytes };
}

/** Identity map in 2 MiB pages. SDM vol. 3, 4.5. */
function pageTables(): Placement {
  const PRESENT_WRITABLE = 3n;
  const LARGE = 0x80n;
  const bytes = new Uint8Array((2 + MAPPED_GIB) * 4096);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(PAGE_TABLES + 4096) | PRESENT_WRITABLE, true);
  for (let gib = 0; gib < MAPPED_GIB; gib++) {
    const directory = (2 + gib) * 4096;
    view.setBigUint64(4096 + gib * 8, BigInt(PAGE_TABLES + directory) | PRESENT_WRITABLE, true);
    for (let i = 0; i < 512; i++) {
      const paddr = BigInt(gib * GIB + i * 2 ** 21);
      view.setBigUint64(directory + i * 8, paddr | PRESENT_WRITABLE | LARGE, true);
    }
  }
  return { paddr: PAGE_TABLES, bytes };
}

function segments(code: number): SegmentState[] {
  const data = { selector: DATA_SELECTOR, base: 0n, limit: FLAT_LIMIT, rights: DATA };
  const cs = { selector: CODE_SELECTOR, base: 0n, limit: FLAT_LIMIT, rights: code };
  return [data, cs, data, data, data, data];
}

export type Registers = Partial<Record<'rax' | 'rbx' | 'rsi' | 'rsp', bigint>>;

function registers(values: Registers): bigint[] {
  const regs = new Array<bigint>(16).fill(0n);
  const NUMBERS = { rax: 0, rbx: 3, rsp: 4, rsi: 6 } as const;
  for (const [name, number] of Object.entries(NUMBERS))
    regs[number] = values[name as keyof typeof NUMBERS] ?? 0n;
  return regs;
}

interface Start {
  readonly writes: readonly Placement[];
  readonly state: Partial<VcpuState>;
}

/** 64-bit mode with the first 4 GiB mapped to themselves. */
export function start64(rip: bigint, values: Registers): Start {
  return {
    writes: [gdt(CODE64), pageTables()],
    state: {
      regs: registers(values),
      rip,
      rflags: 2n,
      segments: segments(CODE64),
      gdtr: { base: BigInt(GDT), limit: 31 },
      idtr: { base: 0n, limit: 0 },
      cr0: CR0_PG | CR0_PE | CR0_ET,
      cr3: BigInt(PAGE_TABLES),
      cr4: CR4_PAE,
      efer: EFER_LME | EFER_LMA,
    },
  };
}

/** 32-bit protected mode without paging. */
export function start32(rip: number, values: Registers): Start {
  return {
    writes: [gdt(CODE32)],
    state: {
      regs: registers(values),
      rip: BigInt(rip),
      rflags: 2n,
      segments: segments(CODE32),
      gdtr: { base: BigInt(GDT), limit: 31 },
      idtr: { base: 0n, limit: 0 },
      cr0: CR0_PE | CR0_ET,
    },
  };
}
