import {
  B_COUNT,
  B_HEADER,
  B_HEAT,
  B_KEY,
  B_PADDR,
  B_PADDR2,
  B_PATCHED,
  B_RECORDS,
  B_RECORDS_MASK,
  KEY_STEP,
  REC_A,
  REC_B,
  REC_DISP,
  REC_HANDLER,
  REC_IMM,
  REC_NEXT,
  REC_SHIFT,
  REC_SIZE,
  REC_START,
  RELOAD_MARK,
  S_ARENA_END,
  S_ARENA_NEXT,
} from '#ir/state.ts';
import { Decoder, type Insn, immediateBytes, isSigned } from '#translate/x86/decode.ts';
import { BlockView, startHeat } from './block-view.ts';
import { isImmediate } from './forms.ts';
import { codeSizeOf } from './hot-context.ts';

/** What this calls in core/. */
interface BlockRoom {
  new_block(cpu: number, records: number): number;
}

/** The bytes at the end of an instruction that are its immediate. */
interface Immediate {
  readonly bytes: number;
  readonly signed: boolean;
}

/** The immediate that an instruction ends with; undefined where it has none, or more than one. */
function trailingImmediate({ row, opSize }: Insn): Immediate | undefined {
  const immediates = row.operands.filter((o) => isImmediate(o) || o.kind === 'J' || o.kind === 'O');
  const [spec] = immediates;
  if (spec?.kind !== 'I' || immediates.length > 1) return undefined;
  return { bytes: immediateBytes(spec, opSize), signed: isSigned(spec) };
}

/** Makes blocks that read an immediate from memory each time, of blocks in which the guest has changed it. */
export class PatchedBlocks {
  readonly #view: BlockView;
  readonly #data: DataView;
  readonly #cpu: number;
  readonly #room: BlockRoom;
  readonly #reload: number;

  /** `reload`: the handler of reload records. */
  constructor(memory: WebAssembly.Memory, cpu: number, room: BlockRoom, reload: number) {
    this.#view = new BlockView(memory, cpu);
    this.#data = new DataView(memory.buffer);
    this.#cpu = cpu;
    this.#room = room;
    this.#reload = reload;
  }

  #get(at: number): number {
    return this.#data.getUint32(at, true);
  }

  /**
   * A copy of a block, for core/ to register, after a write to the `size` bytes at `paddr`; 0 when they are not all of one
   * immediate, or blocks would have to make room. The other bytes of the instruction are those that the block was made of.
   */
  patch(block: number, paddr: number, size: number): number {
    const host = this.#view.hostOf(this.#get(block + B_PADDR));
    const key = this.#get(block + B_KEY);
    const offset = paddr - this.#get(block + B_PADDR);
    if (host === undefined || this.#get(block + B_PADDR2) !== 0 || (key & KEY_STEP) !== 0) return 0;
    if (offset < 0) return 0;
    const rec = this.#recordAt(block, offset);
    if (rec === undefined) return 0;
    const start = this.#data.getUint16(rec + REC_START, true);
    const next = this.#data.getUint16(rec + REC_NEXT, true);
    const insn = new Decoder(this.#view.bytes, codeSizeOf(key)).decode(host + start, host + next);
    const immediate = typeof insn === 'string' ? undefined : trailingImmediate(insn);
    if (immediate === undefined) return 0;
    const from = next - immediate.bytes;
    if (offset < from || offset + size > next) return 0;
    return this.#copy(block, rec, { ...immediate, from, host: host + from });
  }

  /** The last record of the instruction that has the byte at `offset`: those before it are about its address. */
  #recordAt(block: number, offset: number): number | undefined {
    const records = this.#get(block + B_RECORDS) & B_RECORDS_MASK;
    let found: number | undefined;
    for (let i = 0; i < records; i++) {
      const rec = block + B_HEADER + i * REC_SIZE;
      const isIn =
        this.#data.getUint16(rec + REC_START, true) <= offset &&
        offset < this.#data.getUint16(rec + REC_NEXT, true);
      if (isIn) found = rec;
    }
    return found;
  }

  #copy(
    block: number,
    rec: number,
    { bytes, signed, from, host }: Immediate & { readonly from: number; readonly host: number },
  ): number {
    const records = (this.#get(block + B_RECORDS) & B_RECORDS_MASK) + 1;
    const length = B_HEADER + records * REC_SIZE + 8;
    if (this.#get(this.#cpu + S_ARENA_NEXT) + length > this.#get(this.#cpu + S_ARENA_END)) return 0;
    const copy = this.#room.new_block(this.#cpu, records);
    const before = rec - block;
    const memory = this.#view.bytes;
    memory.copyWithin(copy, block, rec);
    memory.copyWithin(copy + before + REC_SIZE, rec, block + length - REC_SIZE - 8);
    const reload = copy + before;
    memory.copyWithin(reload, rec, rec + REC_SIZE);
    memory.fill(0, reload + REC_A, reload + REC_START);
    this.#data.setUint16(reload + REC_HANDLER, this.#reload, true);
    this.#data.setUint8(reload + REC_A, bytes);
    this.#data.setUint8(reload + REC_B, signed ? 1 : 0);
    this.#data.setUint8(reload + REC_SHIFT, RELOAD_MARK);
    this.#data.setUint32(reload + REC_DISP, from, true);
    this.#data.setBigUint64(reload + REC_IMM, BigInt(host), true);
    const flags = this.#get(block + B_RECORDS) & ~B_RECORDS_MASK;
    this.#data.setUint32(copy + B_RECORDS, records | flags | B_PATCHED, true);
    const heat = this.#data.getInt32(block + B_HEAT, true);
    this.#data.setInt32(copy + B_HEAT, heat > 0 ? heat : startHeat(this.#get(block + B_KEY)), true);
    return copy;
  }
}

/** The linear-memory addresses of a block's immediates that are read when it runs, by the offset of their instructions. */
export function reloadedImmediates(view: BlockView, block: number): Map<number, number> {
  const data = new DataView(view.bytes.buffer);
  const found = new Map<number, number>();
  const records = data.getUint32(block + B_RECORDS, true);
  if ((records & B_PATCHED) === 0 || data.getUint32(block + B_COUNT, true) === 0) return found;
  for (let i = 0; i < (records & B_RECORDS_MASK); i++) {
    const rec = block + B_HEADER + i * REC_SIZE;
    if (data.getUint8(rec + REC_SHIFT) === RELOAD_MARK)
      found.set(data.getUint16(rec + REC_START, true), data.getUint32(rec + REC_IMM, true));
  }
  return found;
}
