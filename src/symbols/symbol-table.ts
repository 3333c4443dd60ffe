/** A name of the guest's code or data. */
export interface GuestSymbol {
  readonly address: bigint;
  readonly name: string;
  /** Function or other code. */
  readonly isCode: boolean;
}

/** Where an address lies: `offset` bytes behind the start of `name`. */
export interface Location {
  readonly name: string;
  readonly offset: bigint;
  readonly isCode: boolean;
}

/** Behind the last symbol nothing says where its object ends. */
const LAST_SYMBOL_BYTES = 65536n;
/** Where both halves of the address space have symbols, low ones are offsets of per-CPU variables, not addresses. */
const UPPER_HALF = 1n << 63n;
/** Names that mark places, and of several at one address are the worst. */
const MARKER = /^(_|__)?(stext|text|start|etext|head)$|^\.|^__pfx_|^\$/;

/**
 * Names of a guest's addresses, both ways. A kernel that randomises where it lies (KASLR) is at `slide` from where its
 * file says; with `nokaslr` on its command line, and wherever ring0 unpacks it itself, that is 0.
 */
export class SymbolTable {
  readonly #addresses: BigUint64Array;
  readonly #symbols: readonly GuestSymbol[];
  /** With those that share an address. */
  readonly #all: readonly GuestSymbol[];
  readonly #slide: bigint;

  constructor(symbols: readonly GuestSymbol[], slide = 0n) {
    this.#all = symbols;
    this.#symbols = usable(symbols);
    this.#addresses = BigUint64Array.from(this.#symbols, (s) => s.address);
    this.#slide = slide;
  }

  get size(): number {
    return this.#symbols.length;
  }

  /** The symbol that `address` lies in, or undefined before the first and far behind the last. */
  find(address: bigint): Location | undefined {
    const at = BigInt.asUintN(64, address - this.#slide);
    const index = this.#lastUpTo(at);
    const symbol = this.#symbols[index];
    if (symbol === undefined) return undefined;
    const offset = at - symbol.address;
    if (index === this.#symbols.length - 1 && offset >= LAST_SYMBOL_BYTES) return undefined;
    return { name: symbol.name, offset, isCode: symbol.isCode };
  }

  /** `name+0x10`, `name` at its start, or undefined. */
  nameOf(address: bigint): string | undefined {
    const found = this.find(address);
    if (found === undefined) return undefined;
    return found.offset === 0n ? found.name : `${found.name}+0x${found.offset.toString(16)}`;
  }

  /** Where a name lies; of several of the same name the lowest. */
  addressOf(name: string): bigint | undefined {
    const named = (s: GuestSymbol) => s.name === name;
    const symbol = this.#symbols.find(named) ?? this.#all.find(named);
    return symbol && BigInt.asUintN(64, symbol.address + this.#slide);
  }

  /** Index of the last symbol at or below `address`, or -1. */
  #lastUpTo(address: bigint): number {
    let low = 0;
    let high = this.#addresses.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#addresses[middle] ?? 0n) <= address) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }
}

/** In the order of their addresses, one for each. */
function usable(symbols: readonly GuestSymbol[]): GuestSymbol[] {
  const upper = symbols.some((s) => s.address >= UPPER_HALF);
  const list = symbols.filter((s) => !upper || s.address >= UPPER_HALF);
  list.sort((a, b) => (a.address < b.address ? -1 : a.address > b.address ? 1 : rank(a) - rank(b)));
  return list.filter((symbol, i) => i === 0 || list[i - 1]?.address !== symbol.address);
}

/** Less is better. */
function rank(symbol: GuestSymbol): number {
  return (symbol.isCode ? 0 : 2) + (MARKER.test(symbol.name) ? 1 : 0);
}
