// Stand-ins for a board, for the tests of chips.
import type { BlockBackend, BlockStatus } from './block.ts';
import type { Clock, IrqLine } from './device.ts';
import type { GuestMemory, Segment } from './guest-memory.ts';

/** Time that a test moves by hand. */
export class ManualClock implements Clock {
  ns = 0;
  wallAtZeroMs = 0;

  nowNs(): number {
    return this.ns;
  }

  wallMs(): number {
    return this.wallAtZeroMs + this.ns / 1e6;
  }
}

/** A line that remembers its level and how often it rose. */
export class RecordedLine implements IrqLine {
  high = false;
  rises = 0;

  set(high: boolean): void {
    if (high && !this.high) this.rises++;
    this.high = high;
  }
}

/** Guest RAM from 0 on, and what devices said they wrote. */
export class TestMemory implements GuestMemory {
  readonly ram: Uint8Array;
  readonly view: DataView;
  readonly written: Segment[] = [];

  constructor(lengthBytes: number) {
    this.ram = new Uint8Array(lengthBytes);
    this.view = new DataView(this.ram.buffer);
  }

  bytes(paddr: number, lengthBytes: number): Uint8Array | undefined {
    const isRam = paddr >= 0 && lengthBytes >= 0 && paddr + lengthBytes <= this.ram.length;
    return isRam ? this.ram.subarray(paddr, paddr + lengthBytes) : undefined;
  }

  wrote(paddr: number, lengthBytes: number): void {
    this.written.push({ paddr, lengthBytes });
  }
}

/** A disk in memory that notes what is asked of it, and fails when told to. */
export class TestDisk implements BlockBackend {
  bytes: Uint8Array;
  readonly log: string[] = [];
  #resized: () => void = () => {};
  readonly serial = 'serial-1';
  readonly unitBytes = 4096;
  readOnly = false;
  status: BlockStatus = 'ok';
  /** Whether requests that may be served at once are. */
  isPrompt = false;

  constructor(sizeBytes: number) {
    this.bytes = new Uint8Array(sizeBytes);
  }

  get sizeBytes(): number {
    return this.bytes.length;
  }

  onResize(listener: () => void): void {
    this.#resized = listener;
  }

  /** Gives the disk another size, and forgets what was in it. */
  resize(sizeBytes: number): void {
    this.bytes = new Uint8Array(sizeBytes);
    this.#resized();
  }

  #done(what: string, offsetBytes: number, lengthBytes: number): Promise<BlockStatus> {
    if (offsetBytes < 0 || offsetBytes + lengthBytes > this.sizeBytes)
      throw new RangeError(`${what} ${offsetBytes}+${lengthBytes}: beyond the end`);
    this.log.push(lengthBytes === 0 ? what : `${what} ${offsetBytes}+${lengthBytes}`);
    return Promise.resolve(this.status);
  }

  read(offsetBytes: number, into: readonly Uint8Array[]): Promise<BlockStatus> {
    return this.#done('read', offsetBytes, this.#fill(offsetBytes, into));
  }

  write(offsetBytes: number, from: readonly Uint8Array[]): Promise<BlockStatus> {
    return this.#done('write', offsetBytes, this.#take(offsetBytes, from));
  }

  tryRead(offsetBytes: number, into: readonly Uint8Array[]): boolean {
    if (this.isPrompt) this.log.push(`prompt read ${offsetBytes}+${this.#fill(offsetBytes, into)}`);
    return this.isPrompt;
  }

  tryWrite(offsetBytes: number, from: readonly Uint8Array[]): boolean {
    if (this.isPrompt)
      this.log.push(`prompt write ${offsetBytes}+${this.#take(offsetBytes, from)}`);
    return this.isPrompt;
  }

  /** Returns how many bytes that were. */
  #fill(offsetBytes: number, into: readonly Uint8Array[]): number {
    let at = offsetBytes;
    for (const piece of into) {
      piece.set(this.bytes.subarray(at, at + piece.length));
      at += piece.length;
    }
    return at - offsetBytes;
  }

  #take(offsetBytes: number, from: readonly Uint8Array[]): number {
    let at = offsetBytes;
    for (const piece of from) {
      this.bytes.set(piece, at);
      at += piece.length;
    }
    return at - offsetBytes;
  }

  writeZeroes(offsetBytes: number, lengthBytes: number, mayUnmap: boolean): Promise<BlockStatus> {
    this.bytes.fill(0, offsetBytes, offsetBytes + lengthBytes);
    return this.#done(mayUnmap ? 'unmap' : 'zero', offsetBytes, lengthBytes);
  }

  discard(offsetBytes: number, lengthBytes: number): Promise<BlockStatus> {
    return this.#done('discard', offsetBytes, lengthBytes);
  }

  flush(): Promise<BlockStatus> {
    return this.#done('flush', 0, 0);
  }
}

/** A driver's view of a card's interrupts. */
export class TestInterrupts {
  isMsixEnabled = true;
  readonly messages: number[] = [];
  asserted = false;

  msix(vector: number): void {
    this.messages.push(vector);
  }

  setIntx(asserted: boolean): void {
    this.asserted = asserted;
  }
}

/** Repeatable numbers below `limit` (xorshift32, Marsaglia 2003). */
export function randomNumbers(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % limit;
  };
}
