import type { VcpuState } from '#accel/accel.ts';
import type { PhysicalMemory } from './physical-memory.ts';

// Linear addresses as a virtual CPU sees them, looked up from outside: no rights are checked, and nothing is changed, no
// accessed bit either. Source: Intel SDM vol. 3, chapter 4.

const CR0_PG = 1n << 31n;
const CR4_PSE = 1n << 4n;
const CR4_PAE = 1n << 5n;
const EFER_LMA = 1n << 10n;
const P = 1n;
const PS = 1n << 7n;
const ADDRESS = 0x000f_ffff_ffff_f000n;

/** A level of page tables: how far its index is shifted, how many bits it has, whether its entries may map pages. */
interface Level {
  readonly shift: bigint;
  readonly bits: bigint;
  readonly large: boolean;
}

const LEVELS_64: readonly Level[] = [
  { shift: 39n, bits: 9n, large: false },
  { shift: 30n, bits: 9n, large: true },
  { shift: 21n, bits: 9n, large: true },
  { shift: 12n, bits: 9n, large: true },
];
const LEVELS_PAE: readonly Level[] = [
  { shift: 30n, bits: 2n, large: false },
  { shift: 21n, bits: 9n, large: true },
  { shift: 12n, bits: 9n, large: true },
];

/** Bytes that are mapped one after another, in linear and in physical addresses. */
export interface MappedRange {
  readonly vaddr: bigint;
  readonly paddr: number;
  readonly bytes: bigint;
}

export class AddressSpace {
  readonly #memory: PhysicalMemory;
  readonly #root: bigint;
  readonly #entryBytes: 4 | 8;
  /** None without paging. */
  readonly #levels: readonly Level[];

  constructor(memory: PhysicalMemory, state: VcpuState) {
    const { cr0, cr3, cr4, efer } = state;
    const long = (efer & EFER_LMA) !== 0n;
    const pae = (cr4 & CR4_PAE) !== 0n;
    this.#memory = memory;
    this.#entryBytes = pae ? 8 : 4;
    this.#root = long ? cr3 & ADDRESS : cr3 & (pae ? 0xffff_ffe0n : 0xffff_f000n);
    const levels32: readonly Level[] = [
      { shift: 22n, bits: 10n, large: (cr4 & CR4_PSE) !== 0n },
      { shift: 12n, bits: 10n, large: true },
    ];
    this.#levels = (cr0 & CR0_PG) === 0n ? [] : long ? LEVELS_64 : pae ? LEVELS_PAE : levels32;
  }

  get isPaged(): boolean {
    return this.#levels.length > 0;
  }

  /** Physical address behind `vaddr`, or undefined where none is mapped. */
  translate(vaddr: bigint): number | undefined {
    if (!this.isPaged) return Number(BigInt.asUintN(32, vaddr));
    let table = this.#root;
    for (const level of this.#levels) {
      const index = (vaddr >> level.shift) & ((1n << level.bits) - 1n);
      const entry = this.#entry(table, index);
      if (entry === undefined) return undefined;
      if (this.#isLeaf(entry, level)) return Number(pageOf(entry, level) | offsetIn(vaddr, level));
      table = entry & ADDRESS;
    }
    return undefined;
  }

  /** A present entry. */
  #entry(table: bigint, index: bigint): bigint | undefined {
    const paddr = Number(table + index * BigInt(this.#entryBytes));
    const entry = this.#memory.word(paddr, this.#entryBytes);
    return entry !== undefined && (entry & P) !== 0n ? entry : undefined;
  }

  #isLeaf(entry: bigint, level: Level): boolean {
    return level.shift === 12n || (level.large && (entry & PS) !== 0n);
  }

  /** `length` bytes at `vaddr`, cut off where nothing is mapped or no memory is. */
  read(vaddr: bigint, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    let done = 0;
    while (done < length) {
      const paddr = this.translate(BigInt.asUintN(64, vaddr + BigInt(done)));
      const part = paddr === undefined ? [] : this.#memory.inPage(paddr, length - done);
      if (part.length === 0) break;
      bytes.set(part, done);
      done += part.length;
    }
    return bytes.subarray(0, done);
  }

  /** An unsigned number of 2, 4 or 8 bytes. */
  number(vaddr: bigint, bytes: 2 | 4 | 8): bigint | undefined {
    const data = this.read(vaddr, bytes);
    if (data.length < bytes) return undefined;
    return data.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
  }

  /** What is mapped, in the order of linear addresses, joined where both go on; at most `most` ranges. */
  ranges(most: number): MappedRange[] {
    const list: MappedRange[] = [];
    // Tables may lead in circles: a range that is joined costs no place in the list.
    const steps = { left: most * 512 };
    if (this.isPaged) this.#collect(this.#root, 0, 0n, { list, most, steps });
    return list;
  }

  #collect(
    table: bigint,
    depth: number,
    base: bigint,
    to: { readonly list: MappedRange[]; readonly most: number; readonly steps: { left: number } },
  ): void {
    const level = this.#levels[depth];
    if (level === undefined) return;
    for (let index = 0n; index < 1n << level.bits; index++) {
      if (to.steps.left-- <= 0) return;
      const entry = this.#entry(table, index);
      if (entry === undefined) continue;
      const vaddr = base | (index << level.shift);
      if (!this.#isLeaf(entry, level)) this.#collect(entry & ADDRESS, depth + 1, vaddr, to);
      else if (!append(to, signExtend(vaddr, this.#levels), entry, level)) return;
    }
  }
}

function offsetIn(vaddr: bigint, level: Level): bigint {
  return vaddr & ((1n << level.shift) - 1n);
}

function pageOf(entry: bigint, level: Level): bigint {
  return entry & ADDRESS & ~((1n << level.shift) - 1n);
}

function signExtend(vaddr: bigint, levels: readonly Level[]): bigint {
  return levels === LEVELS_64 ? BigInt.asUintN(64, BigInt.asIntN(48, vaddr)) : vaddr;
}

/** False when the list is full. */
function append(
  to: { readonly list: MappedRange[]; readonly most: number },
  vaddr: bigint,
  entry: bigint,
  level: Level,
): boolean {
  const { list, most } = to;
  const paddr = Number(pageOf(entry, level));
  const bytes = 1n << level.shift;
  const last = list.at(-1);
  if (
    last !== undefined &&
    last.vaddr + last.bytes === vaddr &&
    last.paddr + Number(last.bytes) === paddr
  ) {
    list[list.length - 1] = { ...last, bytes: last.bytes + bytes };
    return true;
  }
  if (list.length >= most) return false;
  list.push({ vaddr, paddr, bytes });
  return true;
}
