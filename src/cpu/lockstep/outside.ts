/** What guest code can learn from outside the processor and its memory, or do there. As the vCPU's host has it. */
export interface OutsideWorld {
  portRead(port: number, size: number): number;
  portWrite(port: number, size: number, value: number): void;
  mmioRead(paddr: number, size: number): number;
  mmioWrite(paddr: number, size: number, value: number): void;
  tsc(): number;
  random32(): number;
}

type Call = keyof OutsideWorld;

interface Entry {
  readonly call: Call;
  readonly args: readonly number[];
  readonly result: number;
}

/** Thrown in the first run where it is to end. */
export const STOP = Symbol('stop');

/**
 * The world outside for two runs of the same code: the first acts on it, the second gets the same answers, and must have
 * asked for the same.
 */
export class TwiceSeen implements OutsideWorld {
  readonly #real: OutsideWorld;
  #entries: Entry[] = [];
  #next = 0;
  #pass: 'aside' | 'first' | 'second' = 'aside';
  #difference: string | undefined;

  constructor(real: OutsideWorld) {
    this.#real = real;
  }

  portRead(port: number, size: number): number {
    return this.#through('portRead', [port, size]);
  }

  /** Ports may change the processor (A20, reset), which cannot be undone and done again: the first run ends before. */
  portWrite(port: number, size: number, value: number): void {
    if (this.#pass === 'first') throw STOP;
    this.#through('portWrite', [port, size, value]);
  }

  mmioRead(paddr: number, size: number): number {
    return this.#through('mmioRead', [paddr, size]);
  }

  mmioWrite(paddr: number, size: number, value: number): void {
    this.#through('mmioWrite', [paddr, size, value]);
  }

  tsc(): number {
    return this.#through('tsc', []);
  }

  random32(): number {
    return this.#through('random32', []);
  }

  begin(): void {
    this.#entries = [];
    this.#next = 0;
    this.#difference = undefined;
    this.#pass = 'first';
  }

  again(): void {
    this.#pass = 'second';
  }

  /** Ends the second run; what it did otherwise than the first, if anything. */
  end(): string | undefined {
    this.#pass = 'aside';
    const left = this.#entries[this.#next];
    if (left !== undefined) this.#difference ??= `${show(left)} came from translated code alone`;
    return this.#difference;
  }

  #through(call: Call, args: readonly number[]): number {
    if (this.#pass === 'second') return this.#repeat(call, args);
    const act = this.#real[call] as (...args: number[]) => number | undefined;
    const result = act.call(this.#real, ...args) ?? 0;
    if (this.#pass === 'first') this.#entries.push({ call, args, result });
    return result;
  }

  #repeat(call: Call, args: readonly number[]): number {
    const entry = this.#entries[this.#next++];
    const same = entry?.call === call && entry.args.every((arg, i) => arg === args[i]);
    if (entry !== undefined && same) return entry.result;
    const expected = entry === undefined ? 'nothing' : show(entry);
    this.#difference ??= `${show({ call, args, result: 0 })} of the interpreter, ${expected} of translated code`;
    return 0;
  }
}

function show({ call, args }: Entry): string {
  return `${call}(${args.map((arg) => `0x${arg.toString(16)}`).join(', ')})`;
}
