import { askedOnce, type Block, type Inst } from '#ir/block.ts';
import { S_XMM } from '#ir/state.ts';

// Which elements are known to be zero or normal numbers: results that were looked at, and what they were computed from.

const XMM_BYTES = 256;
/** A bit each: of the format, in element 0 (ss, sd) or in all of them (ps, pd, which include element 0). */
const FACTS: Readonly<Record<string, number>> = { ss: 1, ps: 3, sd: 4, pd: 12 };
const SS = 1;
const SD = 4;
const ALL_SS = 2;
const ALL_SD = 8;
const EVERYTHING = 15;
/** Operations that look not at both operands. */
const OPERANDS: Readonly<Record<string, 'none' | 'second'>> = { sqrt: 'second', from: 'none' };

export interface SavedFacts {
  readonly registers: ReadonlyMap<number, number>;
  readonly stale: boolean;
}

/** What is known of the vector registers, followed through a node; of operands before an operation. */
export class FloatFacts {
  /** True until MXCSR has been looked at behind a place where control may come from elsewhere. */
  stale = true;
  /** By slot. */
  #registers: ReadonlyMap<number, number> = new Map();
  #values = new Map<Inst, number>();

  /** Nothing is known. */
  reset(): void {
    this.#registers = new Map();
    this.stale = true;
  }

  save(): SavedFacts {
    return { registers: this.#registers, stale: this.stale };
  }

  restore({ registers, stale }: SavedFacts): void {
    this.#registers = registers;
    this.stale = stale;
  }

  /** Follows an instruction that is to be emitted next. `isLookedAt`: the call knows its operands and result afterwards. */
  enter(ir: Block, isLookedAt: (helper: string) => boolean): void {
    if (!isConcerned(ir)) return;
    this.#values = new Map();
    this.#known.clear();
    for (const inst of ir.insts) {
      const { op, attr } = inst;
      if (op.family === 'get') this.#values.set(inst, this.#read(inst));
      else if (op.family === 'set') this.#assign(inst);
      else if (op.name === 'i8x16.shuffle') this.#values.set(inst, this.#shuffled(inst));
      else if (op.family === 'call' && isLookedAt(attr.helper ?? ''))
        this.#compute(inst, FACTS[(attr.helper ?? '').slice(-2)] ?? 0);
    }
  }

  /** True when an operand of a looked-at call was known before it. */
  isKnown(call: Inst, operand: 0 | 1): boolean {
    return this.#known.get(call)?.[operand] === true;
  }

  readonly #known = new Map<Inst, readonly [boolean, boolean]>();

  #compute(call: Inst, format: number): void {
    const [a, b] = call.args;
    const operands = OPERANDS[call.attr.helper?.split('_')[1] ?? ''] ?? 'both';
    const has = (inst: Inst | undefined) =>
      inst !== undefined && (this.#of(inst) & format) === format;
    this.#known.set(call, [has(a), has(b)]);
    if (operands === 'both') this.#note(a, format);
    if (operands !== 'none') this.#note(b, format);
    // A scalar result has the destination's other elements.
    const others = format === SS ? ALL_SS : format === SD ? ALL_SD : 0;
    this.#values.set(call, format | (a === undefined ? 0 : this.#of(a) & others));
  }

  /** An operand has been looked at. */
  #note(operand: Inst | undefined, format: number): void {
    const slot = operand?.attr.slot;
    if (operand === undefined || slot === undefined || !('fixed' in slot)) return;
    this.#know(slot.fixed, this.#of(operand) | format);
  }

  #of(inst: Inst): number {
    return this.#values.get(inst) ?? (isZero(inst) ? EVERYTHING : 0);
  }

  #read({ op, attr }: Inst): number {
    const { slot } = attr;
    if (op.width !== 'v' || slot === undefined || !('fixed' in slot)) return 0;
    return this.#registers.get(slot.fixed) ?? 0;
  }

  #assign({ op, attr, args }: Inst): void {
    const { slot } = attr;
    if (slot === undefined || !('fixed' in slot)) return;
    const { fixed } = slot;
    if (!isVector(fixed)) return;
    const value = args[0];
    if (op.width === 'v' && value !== undefined) this.#know(fixed, this.#of(value));
    else this.#know(S_XMM + ((fixed - S_XMM) & ~15), 0);
  }

  #know(register: number, facts: number): void {
    if ((this.#registers.get(register) ?? 0) === facts) return;
    this.#registers = new Map(this.#registers).set(register, facts);
  }

  #shuffled({ attr, args }: Inst): number {
    const { bytes } = attr;
    const [a, b] = args;
    if (bytes === undefined || a === undefined || b === undefined) return 0;
    const facts = [this.#of(a), this.#of(b)];
    return known(bytes, facts, 4) | (known(bytes, facts, 8) << 2);
  }
}

function isVector(slot: number): boolean {
  return slot >= S_XMM && slot < S_XMM + XMM_BYTES;
}

/** Whether an instruction may change what is known. */
const isConcerned = askedOnce(({ insts }) =>
  insts.some(({ op, attr: { slot } }) => {
    if (op.family === 'call') return true;
    return op.family === 'set' && slot !== undefined && 'fixed' in slot && isVector(slot.fixed);
  }),
);

function isZero({ op, attr }: Inst): boolean {
  return op.name === 'v128.const' && attr.bytes?.every((byte) => byte === 0) === true;
}

/** What is known of a shuffle's elements of `size` bytes: bit 0 of the first, bit 1 of all. */
function known(bytes: Uint8Array, facts: readonly number[], size: 4 | 8): number {
  const shift = size === 4 ? 0 : 2;
  let count = 0;
  for (let at = 0; at < 16; at += size) {
    const from = bytes[at] ?? 0;
    const isElement = from % size === 0 && isRun(bytes, at, size);
    const fact = (facts[from >> 4] ?? 0) >> shift;
    const needed = (from & 15) === 0 ? 1 : 2;
    if (!isElement || (fact & needed) === 0) break;
    count++;
  }
  return (count > 0 ? 1 : 0) | (count * size === 16 ? 2 : 0);
}

function isRun(bytes: Uint8Array, at: number, size: number): boolean {
  for (let i = 1; i < size; i++) if (bytes[at + i] !== (bytes[at] ?? 0) + i) return false;
  return true;
}
