// LZMA as LZMA2 uses it: no end marker, sizes from the chunks. Source: the LZMA specification in the public-domain LZMA
// SDK (lzma-specification.txt), whose names these are.

const STATES = 12;
const MAX_POS_STATES = 16;
const LEN_STATES = 4;
const FULL_DISTANCES = 128;
const ALIGN_BITS = 4;
const FIRST_DIRECT_SLOT = 14;
const FIRST_MODEL_SLOT = 4;
const MIN_MATCH = 2;
const LITERAL_PROBS = 0x300;
const MAX_LITERAL_BITS = 4; // LZMA2 allows lc + lp up to this

// Where the probabilities of each kind begin in the one array.
const IS_MATCH = 0;
const IS_REP = IS_MATCH + STATES * MAX_POS_STATES;
const IS_REP0 = IS_REP + STATES;
const IS_REP1 = IS_REP0 + STATES;
const IS_REP2 = IS_REP1 + STATES;
const IS_REP0_LONG = IS_REP2 + STATES;
const POS_SLOT = IS_REP0_LONG + STATES * MAX_POS_STATES;
const POS_SPECIAL = POS_SLOT + LEN_STATES * 64;
const ALIGN = POS_SPECIAL + FULL_DISTANCES;
const LEN_LOW = 2;
const LEN_MID = LEN_LOW + MAX_POS_STATES * 8;
const LEN_HIGH = LEN_MID + MAX_POS_STATES * 8;
const LEN_SIZE = LEN_HIGH + 256;
const LEN_MATCH = ALIGN + (1 << ALIGN_BITS);
const LEN_REP = LEN_MATCH + LEN_SIZE;
const LITERAL = LEN_REP + LEN_SIZE;
const PROBS = LITERAL + (LITERAL_PROBS << MAX_LITERAL_BITS);

const PROB_BITS = 11;
const PROB_HALF = 1 << (PROB_BITS - 1);
const MOVE_BITS = 5;
const RANGE_TOP = 2 ** 24;

/** What the range decoder begins with: a zero and its code. */
const RANGE_BYTES = 5;

/** Positions in the output: matches reach back to `start`; the chunk fills it from `from` to `to`. */
interface LzmaRange {
  readonly start: number;
  readonly from: number;
  readonly to: number;
}

export class LzmaDecoder {
  readonly #probs = new Uint16Array(PROBS);
  #literalContextBits = 0;
  #literalPosMask = 0;
  #posMask = 0;
  #state = 0;
  readonly #reps = new Uint32Array(4);

  // The range decoder.
  #input: Uint8Array = new Uint8Array(0);
  #at = 0;
  #range = 0;
  #code = 0;

  /** The byte that gives lc, lp and pb; false when it is out of bounds. Forgets what was learnt. */
  setProperties(value: number): boolean {
    if (value >= 9 * 5 * 5) return false;
    const lc = value % 9;
    const lp = Math.floor(value / 9) % 5;
    const pb = Math.floor(value / 45);
    if (lc + lp > MAX_LITERAL_BITS) return false;
    this.#literalContextBits = lc;
    this.#literalPosMask = (1 << lp) - 1;
    this.#posMask = (1 << pb) - 1;
    this.resetState();
    return true;
  }

  resetState(): void {
    this.#state = 0;
    this.#reps.fill(0);
    this.#probs.fill(PROB_HALF);
  }

  /** Unpacks the chunk `input` to `output`. False on damaged data. */
  decode(input: Uint8Array, output: Uint8Array, { start, from, to }: LzmaRange): boolean {
    if (input.length < RANGE_BYTES || input[0] !== 0) return false;
    this.#input = input;
    this.#range = 0xffff_ffff;
    this.#code = new DataView(input.buffer, input.byteOffset).getUint32(1);
    this.#at = RANGE_BYTES;
    let at = from;
    while (at < to && this.#at <= input.length) {
      const posState = (at - start) & this.#posMask;
      if (this.#bit(IS_MATCH + this.#state * MAX_POS_STATES + posState) === 0) {
        if (!this.#literal(output, start, at++)) return false;
      } else {
        const length = this.#match(posState);
        const distance = (this.#reps[0] ?? 0) + 1;
        if (distance > at - start || length > to - at) return false;
        repeat(output, at, distance, length);
        at += length;
      }
    }
    return at === to && this.#at <= input.length;
  }

  /** Past the end of the input it reads zeros; `decode` sees that it did. */
  #normalize(): void {
    if (this.#range >= RANGE_TOP) return;
    this.#range = (this.#range << 8) >>> 0;
    this.#code = ((this.#code << 8) | (this.#input[this.#at++] ?? 0)) >>> 0;
  }

  #bit(index: number): number {
    this.#normalize();
    const prob = this.#probs[index] ?? 0;
    const bound = Math.imul(this.#range >>> PROB_BITS, prob) >>> 0;
    if (this.#code < bound) {
      this.#range = bound;
      this.#probs[index] = prob + (((1 << PROB_BITS) - prob) >> MOVE_BITS);
      return 0;
    }
    this.#range -= bound;
    this.#code -= bound;
    this.#probs[index] = prob - (prob >> MOVE_BITS);
    return 1;
  }

  #direct(bits: number): number {
    let value = 0;
    for (let i = 0; i < bits; i++) {
      this.#normalize();
      this.#range >>>= 1;
      const one = this.#code >= this.#range ? 1 : 0;
      if (one) this.#code -= this.#range;
      value = ((value << 1) | one) >>> 0;
    }
    return value;
  }

  #tree(base: number, bits: number): number {
    let node = 1;
    for (let i = 0; i < bits; i++) node = (node << 1) | this.#bit(base + node);
    return node - (1 << bits);
  }

  /** The lowest bit first. */
  #reverseTree(base: number, bits: number): number {
    let node = 1;
    let value = 0;
    for (let i = 0; i < bits; i++) {
      const bit = this.#bit(base + node);
      node = (node << 1) | bit;
      value |= bit << i;
    }
    return value;
  }

  #literal(output: Uint8Array, start: number, at: number): boolean {
    const before = at > start ? (output[at - 1] ?? 0) : 0;
    const position = ((at - start) & this.#literalPosMask) << this.#literalContextBits;
    const context = position + (before >> (8 - this.#literalContextBits));
    const base = LITERAL + LITERAL_PROBS * context;
    let symbol = 1;
    if (this.#state >= 7) {
      // After a match the byte it would have gone on with is the context, up to the first bit that differs.
      const distance = (this.#reps[0] ?? 0) + 1;
      if (distance > at - start) return false;
      let match = output[at - distance] ?? 0;
      while (symbol < 0x100) {
        const expected = (match >> 7) & 1;
        match <<= 1;
        const bit = this.#bit(base + ((1 + expected) << 8) + symbol);
        symbol = (symbol << 1) | bit;
        if (bit !== expected) break;
      }
    }
    while (symbol < 0x100) symbol = (symbol << 1) | this.#bit(base + symbol);
    output[at] = symbol;
    this.#state = this.#state < 4 ? 0 : this.#state - (this.#state < 10 ? 3 : 6);
    return true;
  }

  /** The length of a match, new or repeated; its distance less one is `#reps[0]` then. */
  #match(posState: number): number {
    const afterLiteral = this.#state < 7;
    if (this.#bit(IS_REP + this.#state) === 0) {
      this.#reps.copyWithin(1, 0, 3);
      const length = this.#length(LEN_MATCH, posState);
      this.#state = afterLiteral ? 7 : 10;
      this.#reps[0] = this.#distance(Math.min(length - MIN_MATCH, LEN_STATES - 1));
      return length;
    }
    if (this.#bit(IS_REP0 + this.#state) === 0) {
      if (this.#bit(IS_REP0_LONG + this.#state * MAX_POS_STATES + posState) === 0) {
        this.#state = afterLiteral ? 9 : 11;
        return 1;
      }
    } else this.#pickRep();
    const length = this.#length(LEN_REP, posState);
    this.#state = afterLiteral ? 8 : 11;
    return length;
  }

  /** Moves an older distance to the front. */
  #pickRep(): void {
    const older = this.#bit(IS_REP1 + this.#state) === 0 ? 1 : 2 + this.#bit(IS_REP2 + this.#state);
    const distance = this.#reps[older] ?? 0;
    this.#reps.copyWithin(1, 0, older);
    this.#reps[0] = distance;
  }

  #length(base: number, posState: number): number {
    if (this.#bit(base) === 0) return MIN_MATCH + this.#tree(base + LEN_LOW + posState * 8, 3);
    if (this.#bit(base + 1) === 0)
      return MIN_MATCH + 8 + this.#tree(base + LEN_MID + posState * 8, 3);
    return MIN_MATCH + 16 + this.#tree(base + LEN_HIGH, 8);
  }

  #distance(lengthState: number): number {
    const slot = this.#tree(POS_SLOT + lengthState * 64, 6);
    if (slot < FIRST_MODEL_SLOT) return slot;
    const bits = (slot >> 1) - 1;
    const base = ((2 | (slot & 1)) << bits) >>> 0;
    if (slot < FIRST_DIRECT_SLOT) return base + this.#reverseTree(POS_SPECIAL + base - slot, bits);
    const direct = this.#direct(bits - ALIGN_BITS) * (1 << ALIGN_BITS);
    return base + direct + this.#reverseTree(ALIGN, ALIGN_BITS);
  }
}

/** Where source and target overlap, the bytes just written repeat. */
function repeat(output: Uint8Array, at: number, distance: number, length: number): void {
  if (distance >= length) output.copyWithin(at, at - distance, at - distance + length);
  else for (let i = at; i < at + length; i++) output[i] = output[i - distance] ?? 0;
}
