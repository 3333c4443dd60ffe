import type { Inst } from '#ir/block.ts';

/** What the code from `at` on, up to the next mark, is there for. Offsets are of the function's code. */
export interface RegionMark {
  readonly at: number;
  readonly part: 'entry' | 'insn' | 'node' | 'to-interpreter' | 'exit';
  /** Number of the node, and of the instruction in it. */
  readonly node: number;
  readonly insn: number;
}

/** Follows what is emitted, for those who explain it. */
export interface RegionObserver {
  readonly marks: RegionMark[];
  /** Values of instructions that nothing is emitted for. */
  readonly dropped: Set<Inst>;
}
