import { alignedBytes } from '../aligned.ts';
import { settle } from '../settle.ts';
import { WriteGate } from './write-gate.ts';

const SLOT_BYTES = 128 * 1024;
/** As many parts of requests are under way at once. */
const SLOTS = 32;

/** The file below: requests are whole, aligned blocks, in memory that is aligned too. */
export interface BlockFile {
  /** Resolves with the bytes that were there. */
  read(offsetBytes: number, into: Uint8Array): number | Promise<number>;
  write(offsetBytes: number, from: Uint8Array): number | Promise<number>;
  size(): Promise<number>;
  truncate(sizeBytes: number): Promise<void>;
}

/**
 * Requests of any place and length to a file that takes whole blocks alone (open(2), O_DIRECT). They pass through slots of
 * aligned memory.
 */
export class DirectIo {
  readonly #file: BlockFile;
  readonly #blockBytes: number;
  readonly #gate = new WriteGate();
  readonly #free: Uint8Array[];
  readonly #waiting: ((slot: Uint8Array) => void)[] = [];

  /** `blockBytes`: a power of two, at most a page. */
  constructor(file: BlockFile, blockBytes: number) {
    this.#file = file;
    this.#blockBytes = blockBytes;
    const slots = alignedBytes(SLOTS * SLOT_BYTES);
    this.#free = Array.from({ length: SLOTS }, (_, index) =>
      slots.subarray(index * SLOT_BYTES, (index + 1) * SLOT_BYTES),
    );
  }

  /** The bytes that were there. */
  async read(offsetBytes: number, into: Uint8Array): Promise<number> {
    const counts = await this.#each(offsetBytes, into, (at, part) => this.#readPart(at, part));
    return counts.reduce((total, count) => total + count, 0);
  }

  async write(offsetBytes: number, from: Uint8Array): Promise<void> {
    const isWhole = offsetBytes % this.#blockBytes === 0 && from.length % this.#blockBytes === 0;
    if (isWhole)
      await this.#gate.beside(() =>
        this.#each(offsetBytes, from, (at, part) => this.#writePart(at, part)),
      );
    // The rest of a block is read and written again: nobody else may write it meanwhile.
    else await this.#gate.alone(() => this.#writeWithin(offsetBytes, from));
  }

  /** Does what changes the file otherwise, while nobody writes. */
  async alone<T>(change: () => Promise<T>): Promise<T> {
    return await this.#gate.alone(change);
  }

  /** Cuts a request at multiples of a slot, and does its parts side by side. */
  async #each<T>(
    offsetBytes: number,
    bytes: Uint8Array,
    action: (offsetBytes: number, part: Uint8Array) => Promise<T>,
  ): Promise<T[]> {
    const parts: Promise<T>[] = [];
    for (let from = 0; from < bytes.length; ) {
      const at = offsetBytes + from;
      const to = Math.min(bytes.length, from + SLOT_BYTES - (at % SLOT_BYTES));
      parts.push(action(at, bytes.subarray(from, to)));
      from = to;
    }
    return await settle(parts);
  }

  #readPart(offsetBytes: number, into: Uint8Array): Promise<number> {
    return this.#withSlot(async (slot) => {
      const { startBytes, blocks } = this.#blocksOf(offsetBytes, into.length, slot);
      const before = offsetBytes - startBytes;
      const there = (await this.#file.read(startBytes, blocks)) - before;
      const count = Math.max(0, Math.min(into.length, there));
      into.set(blocks.subarray(before, before + count));
      return count;
    });
  }

  #writePart(offsetBytes: number, from: Uint8Array): Promise<void> {
    return this.#withSlot(async (slot) => {
      slot.set(from);
      await this.#file.write(offsetBytes, slot.subarray(0, from.length));
    });
  }

  async #writeWithin(offsetBytes: number, from: Uint8Array): Promise<void> {
    const sizeBytes = Math.max(await this.#file.size(), offsetBytes + from.length);
    await this.#each(offsetBytes, from, (at, part) =>
      this.#withSlot(async (slot) => {
        const { startBytes, blocks } = this.#blocksOf(at, part.length, slot);
        blocks.fill(0, await this.#file.read(startBytes, blocks));
        blocks.set(part, at - startBytes);
        await this.#file.write(startBytes, blocks);
      }),
    );
    // Its last block may reach beyond its end.
    if ((await this.#file.size()) > sizeBytes) await this.#file.truncate(sizeBytes);
  }

  #blocksOf(
    offsetBytes: number,
    lengthBytes: number,
    slot: Uint8Array,
  ): { readonly startBytes: number; readonly blocks: Uint8Array } {
    const startBytes = offsetBytes - (offsetBytes % this.#blockBytes);
    const end = Math.ceil((offsetBytes + lengthBytes) / this.#blockBytes) * this.#blockBytes;
    return { startBytes, blocks: slot.subarray(0, end - startBytes) };
  }

  async #withSlot<T>(action: (slot: Uint8Array) => Promise<T>): Promise<T> {
    const slot =
      this.#free.pop() ??
      (await new Promise<Uint8Array>((resolve) => {
        this.#waiting.push(resolve);
      }));
    try {
      return await action(slot);
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free.push(slot);
      else next(slot);
    }
  }
}
