import type { Transform } from 'node:stream';
import { gather, totalLength } from '../pieces.ts';

interface Job {
  readonly from: Uint8Array;
  readonly done: (packed: Uint8Array) => void;
  readonly fail: (error: Error) => void;
}

/** A stream of zlib that flushes each write to the end, and what makes it ready for another, if that takes something. */
export interface Compressor {
  readonly stream: Transform;
  readonly again?: () => void;
}

/**
 * Compresses pieces of like size with a few streams that are kept: making one costs as much as compressing a cluster. They
 * work on libuv's threads, and keep no process alive.
 */
export class CompressorPool {
  readonly #make: () => Compressor;
  readonly #limit: number;
  readonly #idle: Compressor[] = [];
  readonly #waiting: Job[] = [];
  #count = 0;

  constructor(limit: number, make: () => Compressor) {
    this.#limit = limit;
    this.#make = make;
  }

  compress(from: Uint8Array): Promise<Uint8Array> {
    return new Promise((done, fail) => {
      this.#waiting.push({ from, done, fail });
      this.#next();
    });
  }

  #next(): void {
    while (this.#waiting.length > 0) {
      const compressor = this.#idle.pop() ?? (this.#count < this.#limit ? this.#new() : undefined);
      if (compressor === undefined) return;
      const job = this.#waiting.shift();
      if (job !== undefined) this.#run(compressor, job);
    }
  }

  #new(): Compressor {
    this.#count++;
    return this.#make();
  }

  #run(compressor: Compressor, { from, done, fail }: Job): void {
    const parts: Uint8Array[] = [];
    const take = (part: Uint8Array): void => void parts.push(part);
    const end = (error: Error | null | undefined): void => {
      compressor.stream.off('data', take);
      compressor.stream.off('error', end);
      if (error) {
        // It is of no use any more.
        this.#count--;
        compressor.stream.destroy();
        fail(error);
      } else {
        compressor.again?.();
        this.#idle.push(compressor);
        done(joined(parts));
      }
      this.#next();
    };
    compressor.stream.on('data', take);
    compressor.stream.once('error', end);
    compressor.stream.write(from, (error) => {
      if (!error) end(undefined);
    });
  }
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const [first] = parts;
  if (first !== undefined && parts.length === 1) return first;
  const whole = new Uint8Array(totalLength(parts));
  gather(parts, whole);
  return whole;
}
