import type { Region } from '#codegen/region.ts';
import { RegionBuilder } from '#codegen/region-builder.ts';
import type { RegionMark, RegionObserver } from '#codegen/region-observer.ts';
import { type WasmLine, wasmText } from '#codegen/wasm-text.ts';
import type { Inst } from '#ir/block.ts';
import { blockText } from '#ir/block-text.ts';
import type { Feature } from '#isa/x86/insn.ts';
import { type Decoded, Decoder, type Insn } from '#translate/x86/decode.ts';
import { Lifter } from '#translate/x86/lifter.ts';
import { LIFTS } from '#translate/x86/lifts.ts';
import { coldContext, isMemoryOperand, MEM_BASE, MEM_LEFT, MEM_NONE } from './forms.ts';
import type { HandlerMap } from './handlers.ts';
import { codeSizeOf, hotContext, isFlatKey } from './hot-context.ts';
import { HotLifter, liftHot } from './hot-lift.ts';
import { RegionPlanner } from './region-planner.ts';
import { type CodeMode, type CodeSource, StaticBlocks } from './static-blocks.ts';

/** What to explain. */
export interface CodeToExplain extends CodeSource {
  readonly mode: CodeMode;
  readonly at: bigint;
  /** Blocks begin below this address, where there is one. */
  readonly end?: bigint;
  readonly mostBlocks: number;
}

export interface CodeParts {
  readonly handlers: HandlerMap;
  readonly features: ReadonlySet<Feature>;
}

/** A piece of the function that a region becomes, in the order in which it is emitted. */
export interface ExplainedPart {
  readonly part: RegionMark['part'] | 'interpreted' | 'end';
  /** The instruction, where the piece belongs to one. */
  readonly address?: bigint;
  readonly bytes?: Uint8Array;
  readonly insn?: Decoded;
  /** The IR as it was lifted, and what is left of it. Only with the first piece of an instruction. */
  readonly lifted?: readonly string[];
  readonly optimised?: readonly string[];
  /** Why the interpreter does it, or what is wrong with it. */
  readonly why?: string;
  readonly wasm: readonly WasmLine[];
}

export interface ExplainedCode {
  readonly parts: readonly ExplainedPart[];
  readonly blocks: number;
  readonly wasmBytes: number;
}

/** An instruction, or bytes that are none; without both the code ends there. */
interface Piece {
  readonly address: bigint;
  readonly bytes: Uint8Array;
  readonly insn: Decoded | undefined;
}

const MOST_INSN_BYTES = 15;
/** What becomes of bytes that are no instruction. */
const NO_INSN = {
  undefined: { part: 'interpreted', why: 'it is no instruction: #UD' },
  'too-long': { part: 'interpreted', why: 'it has more than 15 bytes: #GP' },
  short: { part: 'end', why: 'the code ends within this instruction' },
} as const;
const NOT_FLAT = 'regions are made of code with flat segments alone';

/** Shows how code is translated: the region whose entry is at `at`, as the hot tier would make it of the blocks around. */
export function explainCode(parts: CodeParts, code: CodeToExplain): ExplainedCode {
  return new CodeExplainer(parts, code).explain();
}

class CodeExplainer {
  readonly #blocks: StaticBlocks;
  readonly #code: CodeToExplain;
  readonly #features: ReadonlySet<Feature>;
  readonly #decoder: Decoder;

  constructor(parts: CodeParts, code: CodeToExplain) {
    this.#code = code;
    this.#features = parts.features;
    this.#blocks = new StaticBlocks(parts, code.mode, code);
    this.#decoder = new Decoder(this.#blocks.view.bytes, codeSizeOf(this.#blocks.key));
  }

  explain(): ExplainedCode {
    const { at } = this.#code;
    const found = this.#follow();
    const entry = this.#blocks.at(at);
    const { view } = this.#blocks;
    const lifter = new HotLifter(view, this.#features);
    const plan = entry && RegionPlanner.plan({ view, lifter }, entry.address, at);
    const built = plan && this.#build(plan.region);
    const parts = built?.parts ?? [];
    const shown = new Set(parts.map((p) => p.address));
    // What the region leaves out.
    for (const piece of [...found.values()].flat()) {
      if (shown.has(piece.address)) continue;
      shown.add(piece.address);
      parts.push(this.#leftOut(piece));
    }
    return { parts, blocks: found.size, wasmBytes: built?.wasmBytes ?? 0 };
  }

  /** The blocks that control may reach, nearest first. */
  #follow(): Map<bigint, Piece[]> {
    const { at, end, mostBlocks } = this.#code;
    const found = new Map<bigint, Piece[]>();
    const waiting = [at];
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      if (found.size >= mostBlocks) break;
      const outside = end !== undefined && (next < at || next >= end);
      const pieces = found.has(next) || outside ? [] : this.#piecesAt(next);
      if (pieces.length === 0) continue;
      found.set(next, pieces);
      waiting.push(...this.#waysFrom(pieces));
    }
    return found;
  }

  /** The block at an address, or the one instruction there that makes none: in two pages, or cut off. */
  #piecesAt(address: bigint): Piece[] {
    const end = address + BigInt(this.#blocks.at(address)?.bytes ?? 1);
    const pieces: Piece[] = [];
    for (let at = address; at < end; ) {
      const piece = this.#pieceAt(at);
      if (piece.bytes.length === 0) break;
      pieces.push(piece);
      at += BigInt(piece.bytes.length);
    }
    return pieces;
  }

  #pieceAt(address: bigint): Piece {
    const { key } = this.#blocks;
    const bytes = this.#blocks.bytesAt(address, MOST_INSN_BYTES);
    if (bytes.length === 0) return { address, bytes, insn: undefined };
    const decoder = new Decoder(bytes, codeSizeOf(key));
    const insn = decoder.decode(0, bytes.length);
    return { address, bytes: bytes.subarray(0, decoder.lookedAt), insn };
  }

  /** Where control may go from a block; what it falls through to is in `pieces` where there is no code. */
  #waysFrom(pieces: Piece[]): bigint[] {
    const last = pieces.at(-1);
    if (last?.insn === undefined || typeof last.insn === 'string') return [];
    const { view, key } = this.#blocks;
    const next = view.linearOf(last.address, last.insn.length, key);
    const { name, operands } = last.insn.row;
    const target = operands.some((o) => o.kind === 'J')
      ? [view.linearOf(next, last.insn.rel, key)]
      : [];
    if (/^(jmp|jmpInd|ret|iret|hlt)$/.test(name)) return target;
    const following = this.#pieceAt(next);
    if (following.insn === undefined) pieces.push(following);
    return [next, ...target];
  }

  #leftOut({ address, bytes, insn }: Piece): ExplainedPart {
    if (insn === undefined) return { part: 'end', address, why: 'the code ends here', wasm: [] };
    if (typeof insn === 'string') return { ...NO_INSN[insn], address, bytes, insn, wasm: [] };
    const { key } = this.#blocks;
    const ir = isFlatKey(key) ? liftHot(insn, key, this.#features) : NOT_FLAT;
    const isSplit = Number(address & 0xfffn) + insn.length > 4096;
    return {
      part: 'interpreted',
      address,
      bytes,
      insn,
      lifted: this.#lifted(insn),
      optimised: typeof ir === 'string' ? [] : blockText(ir.insts),
      why:
        typeof ir === 'string' ? ir : isSplit ? 'it lies in two pages' : 'it is not in the region',
      wasm: [],
    };
  }

  /** The IR before anything is known of its operands but their places. */
  #lifted(insn: Insn): string[] {
    const { row, opSize, addrSize, rep, memory } = insn;
    const { key } = this.#blocks;
    const codeSize = codeSizeOf(key);
    const inMemory = memory !== undefined && row.operands.some((o) => isMemoryOperand(o, MEM_BASE));
    const context =
      hotContext(insn, key) ??
      coldContext({
        ...{ row, opSize, addrSize, rep, codeSize, stackSize: codeSize },
        mem: inMemory ? MEM_LEFT : MEM_NONE,
      });
    const x = new Lifter(context);
    LIFTS[row.name]?.(x);
    return blockText(x.block.insts);
  }

  // ---- the region

  #build(region: Region): { parts: ExplainedPart[]; wasmBytes: number } {
    const observer: RegionObserver = { marks: [], dropped: new Set() };
    const helpers: string[] = [];
    const helper = (name: string): number => {
      const index = helpers.indexOf(name);
      return index >= 0 ? index : helpers.push(name) - 1;
    };
    const { body } = new RegionBuilder(region, { type: 0, slot: 0 }, helper, observer);
    const code = body.code.done();
    const names = {
      local: (index: number) => (index === 0 ? 'cpu' : body.nameOf(index)),
      called: (index: number) => helpers[index],
    };
    const lines = wasmText(code, names);
    const parts: ExplainedPart[] = [];
    const begun = new Set<string>();
    let line = 0;
    for (const [i, mark] of observer.marks.entries()) {
      const end = observer.marks[i + 1]?.at ?? code.length;
      const wasm: WasmLine[] = [];
      for (let next = lines[line]; next !== undefined && next.at < end; next = lines[++line])
        wasm.push(next);
      const name = `${mark.node}/${mark.insn}`;
      const first = mark.part === 'insn' && !begun.has(name);
      if (first) begun.add(name);
      if (first) parts.push({ ...this.#insnPart(region, mark, observer), wasm });
      else if (wasm.length > 0) parts.push({ part: mark.part, wasm });
    }
    return { parts, wasmBytes: body.encode().bytes.length };
  }

  #insnPart(
    region: Region,
    { node, insn: number, part }: RegionMark,
    observer: RegionObserver,
  ): Omit<ExplainedPart, 'wasm'> {
    const insns = region.nodes[node]?.insns ?? [];
    const place = insns[number];
    if (place === undefined) return { part };
    const { view, key } = this.#blocks;
    const address = view.linearOf(this.#code.at, place.start, key);
    const paddr = Number(this.#blocks.fetch_address(0, address));
    const host = view.hostOf(paddr) ?? 0;
    const length = place.next - place.start;
    const insn = this.#decoder.decode(host, host + length);
    if (typeof insn === 'string') return { part, address };
    const later = insns.slice(number + 1).map(({ ir }) => ir.insts);
    const kept = place.ir.insts.filter((inst) => !observer.dropped.has(inst));
    return {
      part,
      address,
      bytes: view.bytes.slice(host, host + length),
      insn,
      lifted: this.#lifted(insn),
      optimised: blockText(kept, (inst) => flagsNote(inst, later)),
    };
  }
}

const SETS_FLAGS = /^(flags\d+|set_flags_raw)$/;
const READS_FLAGS = /^(cond|get_flags_(res|aux))$/;

/** Flags are not computed where they are set: what becomes of them. */
function flagsNote(inst: Inst, later: readonly (readonly Inst[])[]): string | undefined {
  if (!SETS_FLAGS.test(inst.op.name)) return undefined;
  for (const { op, attr } of later.flat()) {
    if (READS_FLAGS.test(op.name) || attr.kind === 'inc' || attr.kind === 'dec')
      return 'operands kept, computed where read';
    if (SETS_FLAGS.test(op.name)) return 'dead unless a fault comes between';
  }
  return 'operands kept, computed where read';
}
