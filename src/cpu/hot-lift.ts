import { helperKind } from '#codegen/hot-helpers.ts';
import type { RegionInsn } from '#codegen/region.ts';
import type { Block } from '#ir/block.ts';
import { FoldingBlock } from '#ir/folding-block.ts';
import { KEY_NO_FPU, KEY_NO_SSE, KEY_PROTECTED } from '#ir/state.ts';
import type { Feature } from '#isa/x86/insn.ts';
import { Decoder, type Insn } from '#translate/x86/decode.ts';
import { Lifter } from '#translate/x86/lifter.ts';
import { LIFTS } from '#translate/x86/lifts.ts';
import type { BlockInfo, BlockView } from './block-view.ts';
import { codeSizeOf, hotContext } from './hot-context.ts';

/** A guest block, lifted as far as regions can do it. */
export interface LiftedBlock {
  readonly insns: readonly RegionInsn[];
  /** The last of them, which decides where control goes. */
  readonly last: Insn | undefined;
  /** Offset of what follows it. */
  readonly end: number;
  /** The next instruction is the interpreter's. */
  readonly leavesCold: boolean;
}

const TERMINATORS = new Set(['jump', 'branch', 'goto']);

function isOffered({ row }: Insn, key: number, features: ReadonlySet<Feature>): boolean {
  const { feature, protectedOnly, unit } = row.options;
  if (protectedOnly === true && (key & KEY_PROTECTED) === 0) return false;
  if (unit !== undefined && (key & (unit === 'sse' ? KEY_NO_SSE : KEY_NO_FPU)) !== 0) return false;
  return feature === undefined || features.has(feature);
}

function isSupported(ir: Block): boolean {
  const { terminator } = ir;
  if (terminator !== undefined && !TERMINATORS.has(terminator.op.name)) return false;
  return ir.insts.every(
    ({ op, attr }) => !op.name.startsWith('call.') || helperKind(attr.helper ?? '') !== undefined,
  );
}

/** The meaning of one instruction with its operands known; undefined when the interpreter is to do it. */
function liftHot(insn: Insn, key: number, features: ReadonlySet<Feature>): Block | undefined {
  const lift = LIFTS[insn.row.name];
  if (lift === undefined || !isOffered(insn, key, features)) return undefined;
  const context = hotContext(insn, key);
  if (context === undefined) return undefined;
  const isBranch = insn.row.operands.some((o) => o.kind === 'J') || insn.row.name.endsWith('Ind');
  if ((isBranch || insn.row.name === 'ret') && insn.opSize !== codeSizeOf(key)) return undefined;
  const ir = new FoldingBlock();
  lift(new Lifter(context, ir));
  return isSupported(ir) ? ir : undefined;
}

/** Lifts a block that begins `offset` bytes from the region's entry. */
export function liftBlock(
  view: BlockView,
  block: BlockInfo,
  offset: number,
  features: ReadonlySet<Feature>,
): LiftedBlock | undefined {
  const host = view.hostOf(block.paddr);
  if (host === undefined) return undefined;
  const decoder = new Decoder(view.bytes, codeSizeOf(block.key));
  const insns: RegionInsn[] = [];
  let last: Insn | undefined;
  let at = 0;
  while (at < block.bytes) {
    const insn = decoder.decode(host + at, host + block.bytes);
    const ir = typeof insn === 'string' ? undefined : liftHot(insn, block.key, features);
    if (typeof insn === 'string' || ir === undefined)
      return { insns, last: undefined, end: offset + at, leavesCold: true };
    insns.push({ start: offset + at, next: offset + at + insn.length, ir });
    last = insn;
    at += insn.length;
  }
  return { insns, last, end: offset + at, leavesCold: false };
}
