import type { Block } from '#ir/block.ts';

// What the hot tier compiles: many guest blocks as one function. Offsets are bytes from the RIP at which the region is
// entered, so that the same region serves wherever the code is mapped.

export interface RegionInsn {
  readonly start: number;
  /** Offset of the instruction behind it. */
  readonly next: number;
  readonly ir: Block;
}

export interface RegionEdge {
  readonly offset: number;
  /** Number of the node; undefined where control leaves the region. */
  readonly node: number | undefined;
}

export interface RegionNode {
  readonly offset: number;
  readonly insns: readonly RegionInsn[];
  /** Target of a direct jump or of a branch when taken. */
  readonly taken: RegionEdge | undefined;
  /** What follows the last instruction. */
  readonly next: RegionEdge;
  /** Where an indirect jump or call goes: for RET the return address of the call that led here, else where it went before. */
  readonly predicted: readonly RegionEdge[];
  /** The indirect jump is a call. */
  readonly calls: boolean;
  /** The instruction behind the last one is left to the interpreter. */
  readonly leavesCold: boolean;
}

export interface Region {
  /** The first is where it is entered. */
  readonly nodes: readonly RegionNode[];
  /** Code addresses are 64 bits wide; else 32. */
  readonly code64: boolean;
  /** Pages besides that of the entry: offset of an address in each. At most REGION_PAGES. */
  readonly pages: readonly number[];
  /** Pages that the TLB does not have are looked for by core/; else such an instruction is the interpreter's (`hot-memory.ts`). */
  readonly servesMisses: boolean;
}
