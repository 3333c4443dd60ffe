import {
  A_ANY_KEPT,
  A_CODE_NODES,
  A_CODE_ROOTS,
  A_CODE_TEMPLATES,
  A_FALL_THROUGH,
  A_KEPT,
  A_NEW_HEAT,
  CODE_LEAF,
  CODE_NODE_BYTES,
  CODE_NODES,
  CODE_TEMPLATES,
  HEAT_START,
  KEPT_ENTRIES,
  KEY_BITS,
  REC_SIZE,
  REC_START,
  S_AREA,
  T_ADD,
  T_AT,
  T_COUNT,
  T_DISP,
  T_ENDS,
  T_HOW,
  T_IMM,
  T_KEY,
  T_LENGTH,
  T_RECORDS,
  T_RECORDS_MAX,
  T_SIZE,
  T_TO,
  T_UNIT,
  T_UNIT_SHIFT,
  TEMPLATE_BYTES,
} from '#ir/state.ts';

/** A displacement or an immediate: where it stands in the instruction, its bytes, and where it goes in the records, how (T_…). */
export interface TemplatePart {
  readonly at: number;
  readonly size: number;
  readonly to: number;
  readonly how: number;
}

/** What an instruction is, whatever its displacement and its immediate. */
export interface InsnTemplate {
  /** Its bytes before these. */
  readonly head: Uint8Array;
  readonly length: number;
  /** True when a block ends with it. */
  readonly ends: boolean;
  /** The bit of the key that its unit is off by, or 0. */
  readonly unit: number;
  readonly records: Uint8Array;
  readonly disp?: TemplatePart | undefined;
  /** Added to the displacement. */
  readonly add: number;
  readonly imm?: TemplatePart | undefined;
}

/** Of what is saved: the numbers of nodes and templates. */
const HEAD_BYTES = 8;
/** More than this and a search in A_KEPT would take long. */
const MOST_KEPT = KEPT_ENTRIES / 2;

/** The tables that core/templates.ts predecodes with. When one is full all begins anew. */
export class InsnTemplates {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #cpu: number;
  /** Node 0 and the value 0 stand for none. */
  #nodes = 1;
  #templates = 0;
  #kept = 0;

  constructor(memory: WebAssembly.Memory, cpu: number) {
    this.#bytes = new Uint8Array(memory.buffer);
    this.#view = new DataView(memory.buffer);
    this.#cpu = cpu;
    this.startHeat = HEAT_START;
  }

  #at(table: number): number {
    return this.#view.getUint32(this.#cpu + S_AREA, true) + table;
  }

  /** B_HEAT of the blocks that are made from templates. */
  set startHeat(heat: number) {
    this.#view.setInt32(this.#at(A_NEW_HEAT), heat, true);
  }

  /** The record that ends a block whose last instruction does not; its offsets are put in. */
  set fallThrough(record: Uint8Array) {
    this.#bytes.set(record, this.#at(A_FALL_THROUGH));
  }

  /** Blocks whose code has this hash are worth looking for among the regions of earlier runs. */
  addKept(hash: number): void {
    if (this.#kept >= MOST_KEPT) return;
    const table = this.#at(A_KEPT);
    const wanted = hash >>> 0 || 1;
    for (let i = wanted; ; i++) {
      const entry = table + (i % KEPT_ENTRIES) * 4;
      const found = this.#view.getUint32(entry, true);
      if (found === wanted) return;
      if (found !== 0) continue;
      this.#view.setUint32(entry, wanted, true);
      this.#view.setUint32(this.#at(A_ANY_KEPT), 1, true);
      this.#kept++;
      return;
    }
  }

  /** Remembers what was made of an instruction in code with this key, whose unit is on; false where there is no room for it. */
  learn(key: number, template: InsnTemplate): boolean {
    const { head, records } = template;
    if (records.length > T_RECORDS_MAX * REC_SIZE) return false;
    if (this.#nodes + head.length >= CODE_NODES || this.#templates === CODE_TEMPLATES)
      this.#clear();
    const root = this.#at(A_CODE_ROOTS) + (key & T_KEY) * 2;
    let child = this.#view.getUint16(root, true);
    if (child === 0) {
      child = this.#nodes++;
      this.#view.setUint16(root, child, true);
    }
    for (const [i, byte] of head.entries()) {
      const entry = this.#at(A_CODE_NODES) + child * CODE_NODE_BYTES + byte * 2;
      child = this.#view.getUint16(entry, true);
      if (child >= CODE_LEAF) return true;
      if (child === 0) {
        child = i === head.length - 1 ? CODE_LEAF + this.#templates : this.#nodes++;
        this.#view.setUint16(entry, child, true);
      }
    }
    if (child < CODE_LEAF) return false;
    this.#write(this.#templates++, template);
    return true;
  }

  #write(index: number, { length, ends, unit, records, disp, add, imm }: InsnTemplate): void {
    const at = this.#at(A_CODE_TEMPLATES) + index * TEMPLATE_BYTES;
    this.#bytes.fill(0, at, at + TEMPLATE_BYTES);
    this.#view.setUint8(at + T_LENGTH, length);
    this.#view.setUint8(at + T_COUNT, records.length / REC_SIZE);
    this.#view.setUint8(at + T_ENDS, ends ? 1 : 0);
    this.#view.setUint8(at + T_UNIT, unit >> T_UNIT_SHIFT);
    this.#view.setInt32(at + T_ADD, add, true);
    if (disp !== undefined) this.#writePart(at + T_DISP, disp);
    if (imm !== undefined) this.#writePart(at + T_IMM, imm);
    this.#bytes.set(records, at + T_RECORDS);
    const start = this.#view.getUint16(at + T_RECORDS + REC_START, true);
    for (let rec = at + T_RECORDS; rec < at + T_RECORDS + records.length; rec += REC_SIZE)
      this.#view.setUint16(
        rec + REC_START,
        this.#view.getUint16(rec + REC_START, true) - start,
        true,
      );
  }

  #writePart(at: number, { at: from, size, to, how }: TemplatePart): void {
    this.#view.setUint8(at + T_AT, from);
    this.#view.setUint8(at + T_SIZE, size);
    this.#view.setUint8(at + T_TO, to);
    this.#view.setUint8(at + T_HOW, how);
  }

  /** All that has been learnt. */
  save(): Uint8Array {
    const parts = this.#tables();
    const saved = new Uint8Array(HEAD_BYTES + parts.reduce((sum, { length }) => sum + length, 0));
    saved.set(new Uint8Array(Uint32Array.of(this.#nodes, this.#templates).buffer));
    let at = HEAD_BYTES;
    for (const part of parts) {
      saved.set(part, at);
      at += part.length;
    }
    return saved;
  }

  /** Takes over what `save` gave, of the same engine. */
  load(saved: Uint8Array): void {
    const head = new DataView(saved.buffer, saved.byteOffset, HEAD_BYTES);
    this.#nodes = head.getUint32(0, true);
    this.#templates = head.getUint32(4, true);
    let at = HEAD_BYTES;
    for (const part of this.#tables()) {
      part.set(saved.subarray(at, at + part.length));
      at += part.length;
    }
  }

  /** What is in use of the tables. */
  #tables(): Uint8Array[] {
    const part = (table: number, length: number) =>
      this.#bytes.subarray(this.#at(table), this.#at(table) + length);
    return [
      part(A_CODE_ROOTS, 2 << KEY_BITS),
      part(A_CODE_NODES, this.#nodes * CODE_NODE_BYTES),
      part(A_CODE_TEMPLATES, this.#templates * TEMPLATE_BYTES),
    ];
  }

  #clear(): void {
    for (const table of this.#tables()) table.fill(0);
    this.#nodes = 1;
    this.#templates = 0;
  }
}
