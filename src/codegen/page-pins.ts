import { NO_DELTA, S_STREAMS, STREAMS_BYTES } from '#ir/state.ts';
import type { EntryAccess } from './address-groups.ts';
import { TLB_DELTA } from './tlb-entry.ts';
import type { FunctionBody } from './wasm.ts';

const I32_LOAD = 0x28;
const I64_LOAD = 0x29;
const I32_STORE = 0x36;
const I32_NE = 0x47;
const I64_ADD = 0x7c;
const I64_XOR = 0x85;
const I64_LE_U = 0x58;
const PAGE_BYTES = 4096;
/** Bytes from the first access to the end of the last: they have to lie in one page. */
const MAX_SPAN = 512;
const MOST_PINS = 16;
const PIN_BYTES = 4;
/** They lie behind the streams. */
const PINS = S_STREAMS + STREAMS_BYTES - MOST_PINS * PIN_BYTES;
export const PINS_BYTES = MOST_PINS * PIN_BYTES;

/** A page that is known while a region runs. */
export interface KeptPage {
  /** Pushes 1 when it is known and has `width` bytes from `address` (an i64 local) on. */
  pushHit(address: number, width: number): void;
  /** Pushes its linear-memory address minus its virtual one; `pushHit` came before. */
  pushDelta(): void;
  /** Makes the page of a TLB entry (a local with its address), in which `address` lies, the one that is known. */
  enter(entry: number, address: number): void;
}

/** Bytes at constant offsets from what a register held, or from RIP, when the region was entered. */
interface Pin {
  readonly root: number;
  readonly write: boolean;
  readonly low: number;
  high: number;
  accesses: number;
}

/**
 * Pages of addresses that stay the same while a region runs, whatever way control comes: the stack frame, variables. What is
 * known of them lies in the state, and is looked up in the TLB once.
 */
export class PagePins {
  readonly #f: FunctionBody;
  readonly #cpu: number;
  readonly #delta: number;
  readonly #pins: readonly Pin[];

  /** `accesses`: those that have such addresses, in loops. `cpu`: the local with the address of the state. */
  constructor(f: FunctionBody, cpu: number, accesses: readonly EntryAccess[]) {
    this.#f = f;
    this.#cpu = cpu;
    this.#delta = f.local('i32');
    this.#pins = joined(accesses)
      .sort((a, b) => b.accesses - a.accesses)
      .slice(0, MOST_PINS);
  }

  /** The page of `width` bytes at an offset from a root, when it is one that is kept. */
  of(root: number, offset: number, width: number, write: boolean): KeptPage | undefined {
    const isOf = (pin: Pin) =>
      pin.root === root && pin.write === write && pin.low <= offset && offset + width <= pin.high;
    const index = this.#pins.findIndex(isOf);
    const pin = this.#pins[index];
    if (pin === undefined) return undefined;
    const place = PINS + index * PIN_BYTES;
    const f = this.#f;
    return {
      pushHit: () => {
        f.get(this.#cpu).mem(I32_LOAD, place).tee(this.#delta).i32(NO_DELTA).op(I32_NE);
      },
      pushDelta: () => {
        f.get(this.#delta);
      },
      enter: (entry, address) => {
        f.get(address);
        if (pin.low !== offset) f.i64(pin.low - offset).op(I64_ADD);
        f.get(entry)
          .mem(I64_LOAD, 0)
          .op(I64_XOR)
          .i64(PAGE_BYTES - (pin.high - pin.low))
          .op(I64_LE_U)
          .hint(true)
          .if();
        f.get(this.#cpu).get(entry).mem(I32_LOAD, TLB_DELTA).mem(I32_STORE, place).end();
      },
    };
  }

  /** Nothing is known of any page, yet or any more. */
  forget(): void {
    for (const index of this.#pins.keys())
      this.#f
        .get(this.#cpu)
        .i32(NO_DELTA)
        .mem(I32_STORE, PINS + index * PIN_BYTES);
  }
}

/** Accesses near each other, to be served by one look at the TLB. */
function joined(accesses: readonly EntryAccess[]): Pin[] {
  const sorted = [...accesses].sort(
    (a, b) => a.root - b.root || Number(a.write) - Number(b.write) || a.offset - b.offset,
  );
  const pins: Pin[] = [];
  for (const { root, write, offset, width } of sorted) {
    const last = pins.at(-1);
    const high = offset + width;
    if (last?.root === root && last.write === write && high - last.low <= MAX_SPAN) {
      last.high = Math.max(last.high, high);
      last.accesses++;
    } else pins.push({ root, write, low: offset, high, accesses: 1 });
  }
  return pins;
}
