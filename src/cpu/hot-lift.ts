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
import { isFence } from './forms.ts';
import { codeSizeOf, hotContext } from './hot-context.ts';
import { reloadedImmediates } from './patched-blocks.ts';

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

const NONE_RELOADED: ReadonlyMap<number, number> = new Map();
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

/**
 * The meaning of one instruction with its operands known, but for an immediate at `immediateAt` in linear memory; why the interpreter is
 * to do it where that is so.
 */
export function liftHot(
  insn: Insn,
  key: number,
  features: ReadonlySet<Feature>,
  immediateAt?: number,
): Block | string {
  const lift = LIFTS[insn.row.name];
  if (lift === undefined || !isOffered(insn, key, features))
    return 'the processor does not have it in this mode';
  const context = hotContext(insn, key, immediateAt);
  if (context === undefined) return 'its address needs checks of the segment';
  const isBranch = insn.row.operands.some((o) => o.kind === 'J') || insn.row.name.endsWith('Ind');
  if ((isBranch || insn.row.name === 'ret') && insn.opSize !== codeSizeOf(key))
    return 'it goes to an address of another size';
  const ir = new FoldingBlock();
  lift(new Lifter(context, ir));
  if (isFence(insn)) ir.add('call.void', [], { helper: 'fence' });
  return isSupported(ir) ? ir : 'it may change what translated code relies on';
}

interface CachedInsn {
  readonly key: number;
  readonly code: Uint8Array;
  readonly insn: Insn;
  readonly ir: Block;
}

/** A guest block as it was lifted last, with offsets from its own beginning. */
interface CachedBlock {
  readonly paddr: number;
  readonly key: number;
  readonly code: Uint8Array;
  readonly lifted: LiftedBlock;
}

/** Instructions and blocks kept at most: enough for a kernel and a few programs. */
const MAX_CACHED = 20_000;

/**
 * Lifts guest blocks. The same instructions come again and again, and the same blocks, since regions overlap: what their bytes
 * mean is kept, for nothing of it depends on where they stand.
 */
export class HotLifter {
  readonly #view: BlockView;
  readonly #features: ReadonlySet<Feature>;
  /** By a hash of key and bytes. */
  readonly #insns = new Map<number, CachedInsn[]>();
  #cachedInsns = 0;
  /** By address. */
  readonly #blocks = new Map<number, CachedBlock>();

  constructor(view: BlockView, features: ReadonlySet<Feature>) {
    this.#view = view;
    this.#features = features;
  }

  /** Lifts a block that begins `offset` bytes from the region's entry. */
  lift(block: BlockInfo, offset: number): LiftedBlock | undefined {
    const host = this.#view.hostOf(block.paddr);
    if (host === undefined) return undefined;
    // The guest may be writing to them: all is made of one copy.
    const copy = () => this.#view.bytes.slice(host, host + block.bytes);
    if (block.patched) return this.#lift(block, copy(), offset);
    const { address, paddr, key, bytes } = block;
    const known = this.#blocks.get(address);
    if (
      known?.paddr === paddr &&
      known.key === key &&
      known.code.length === bytes &&
      this.#view.holds(host, known.code, 0, bytes)
    )
      return movedBy(known.lifted, offset);
    const code = copy();
    const lifted = this.#lift(block, code, 0);
    if (this.#blocks.size >= MAX_CACHED) this.#blocks.clear();
    this.#blocks.set(address, { paddr, key, code, lifted });
    return movedBy(lifted, offset);
  }

  #lift(block: BlockInfo, code: Uint8Array, offset: number): LiftedBlock {
    const decoder = new Decoder(code, codeSizeOf(block.key));
    const insns: RegionInsn[] = [];
    const reloaded = block.patched ? reloadedImmediates(this.#view, block.address) : NONE_RELOADED;
    let last: Insn | undefined;
    let at = 0;
    while (at < code.length) {
      const found = this.#insn(decoder, block.key, { code, at, immediateAt: reloaded.get(at) });
      if (found === undefined)
        return { insns, last: undefined, end: offset + at, leavesCold: true };
      const { insn, ir } = found;
      insns.push({ start: offset + at, next: offset + at + insn.length, ir });
      last = insn;
      at += insn.length;
    }
    return { insns, last, end: offset + at, leavesCold: false };
  }

  #insn(
    decoder: Decoder,
    key: number,
    place: {
      readonly code: Uint8Array;
      readonly at: number;
      readonly immediateAt: number | undefined;
    },
  ): { readonly insn: Insn; readonly ir: Block } | undefined {
    const { at, immediateAt } = place;
    const insn = decoder.decode(at, place.code.length);
    if (typeof insn === 'string') return undefined;
    if (immediateAt !== undefined) {
      const ir = liftHot(insn, key, this.#features, immediateAt);
      return typeof ir === 'string' ? undefined : { insn, ir };
    }
    const code = place.code.subarray(at, at + insn.length);
    const hash = hashOf(code) ^ key;
    const alike = this.#insns.get(hash) ?? [];
    const known = alike.find((cached) => cached.key === key && isSame(cached.code, code));
    if (known !== undefined) return known;
    const ir = liftHot(insn, key, this.#features);
    if (typeof ir === 'string') return undefined;
    if (this.#cachedInsns >= MAX_CACHED) {
      this.#insns.clear();
      this.#cachedInsns = 0;
    }
    const found = { key, code, insn, ir };
    alike.push(found);
    this.#insns.set(hash, alike);
    this.#cachedInsns++;
    return found;
  }
}

/** FNV-1a, 32 bits. Source: RFC 9923. */
function hashOf(bytes: Uint8Array): number {
  let hash = 0x811c9dc5 | 0;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash;
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

function movedBy({ insns, last, end, leavesCold }: LiftedBlock, offset: number): LiftedBlock {
  const moved = insns.map(({ start, next, ir }) => ({
    start: offset + start,
    next: offset + next,
    ir,
  }));
  return { insns: moved, last, end: offset + end, leavesCold };
}
