import type { VcpuState } from '#accel/accel.ts';
import type { SymbolTable } from '#symbols/symbol-table.ts';
import { Decoder } from '#translate/x86/decode.ts';
import type { AddressSpace } from './address-space.ts';

const RBP = 5;
const RSP = 4;
const SEG_SS = 2;
const MOST_FRAMES = 24;
/** How far the stack is looked through for return addresses. */
const SCAN_BYTES = 8192;
/** A frame is not larger. */
const MOST_FRAME_BYTES = 65536n;
const CALL_LENGTHS = [2, 3, 4, 5, 6, 7];
const MOST_CALL_BYTES = 7;

export interface Frame {
  readonly address: bigint;
  /** Found on the stack, not by the chain of frame pointers: it may be left over from an earlier call. */
  readonly guessed: boolean;
}

/** What a stack may cost that is looked at often. */
export interface StackLimits {
  readonly frames: number;
  readonly scanBytes: number;
  /** Addresses that have been found to be return addresses, or not. */
  readonly known: Map<bigint, boolean>;
}

/** Where the stack leads back to: by frame pointers where they form a chain, else by what looks like return addresses. */
export function stackTrace(
  state: VcpuState,
  space: AddressSpace,
  codeSize: 4 | 8,
  symbols: SymbolTable | undefined,
  limits: StackLimits = { frames: MOST_FRAMES, scanBytes: SCAN_BYTES, known: new Map() },
): Frame[] {
  const reader = new StackReader(state, space, codeSize, symbols, limits);
  const chained = reader.chained();
  return chained.length > 1 ? chained : reader.scanned();
}

class StackReader {
  readonly #state: VcpuState;
  readonly #space: AddressSpace;
  readonly #codeSize: 4 | 8;
  readonly #symbols: SymbolTable | undefined;
  readonly #limits: StackLimits;

  constructor(
    state: VcpuState,
    space: AddressSpace,
    codeSize: 4 | 8,
    symbols: SymbolTable | undefined,
    limits: StackLimits,
  ) {
    this.#limits = limits;
    this.#state = state;
    this.#space = space;
    this.#codeSize = codeSize;
    this.#symbols = symbols;
  }

  #register(number: number): bigint {
    return BigInt.asUintN(this.#codeSize * 8, this.#state.regs[number] ?? 0n);
  }

  #linear(pointer: bigint): bigint {
    const base = this.#codeSize === 8 ? 0n : (this.#state.segments[SEG_SS]?.base ?? 0n);
    return BigInt.asUintN(this.#codeSize * 8, base + pointer);
  }

  #word(pointer: bigint): bigint | undefined {
    return this.#space.number(this.#linear(pointer), this.#codeSize);
  }

  chained(): Frame[] {
    const frames: Frame[] = [];
    const word = BigInt(this.#codeSize);
    let below = this.#register(RSP);
    let frame = this.#register(RBP);
    while (
      frames.length < this.#limits.frames &&
      frame >= below &&
      frame - below < MOST_FRAME_BYTES
    ) {
      const next = this.#word(frame);
      const address = this.#word(frame + word);
      if (next === undefined || address === undefined || !this.#isReturn(address)) break;
      frames.push({ address, guessed: false });
      below = frame + word;
      frame = next;
    }
    return frames;
  }

  /** Reads the stack at once: a page table walk for each word is what a look would cost most. */
  scanned(): Frame[] {
    const frames: Frame[] = [];
    const { buffer, byteOffset, length } = this.#space.read(
      this.#linear(this.#register(RSP)),
      this.#limits.scanBytes,
    );
    const view = new DataView(buffer, byteOffset, length);
    for (
      let at = 0;
      at + this.#codeSize <= length && frames.length < this.#limits.frames;
      at += this.#codeSize
    ) {
      const address =
        this.#codeSize === 8 ? view.getBigUint64(at, true) : BigInt(view.getUint32(at, true));
      if (this.#isReturn(address)) frames.push({ address, guessed: true });
    }
    return frames;
  }

  /** A call stands right before it, and where names are known, it is in code. */
  #isReturn(address: bigint): boolean {
    const { known } = this.#limits;
    let found = known.get(address);
    if (found === undefined) {
      found = this.#followsCall(address);
      known.set(address, found);
    }
    return found;
  }

  #followsCall(address: bigint): boolean {
    if (this.#symbols !== undefined && this.#symbols.find(address)?.isCode === false) return false;
    const bytes = this.#space.read(address - BigInt(MOST_CALL_BYTES), MOST_CALL_BYTES);
    if (bytes.length < MOST_CALL_BYTES) return false;
    const decoder = new Decoder(bytes, this.#codeSize);
    return CALL_LENGTHS.some((length) => {
      const insn = decoder.decode(MOST_CALL_BYTES - length, MOST_CALL_BYTES);
      return typeof insn !== 'string' && insn.length === length && insn.row.name.startsWith('call');
    });
  }
}
