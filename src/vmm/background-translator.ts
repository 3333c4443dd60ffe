import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import type { TranslatedBatch, Translator } from '#cpu/hot-tier.ts';
import type { RegionRequest } from '#cpu/region-compiler.ts';
import { S_BATCHES } from '#ir/state.ts';

/** Has another thread translate. The vCPU's thread never waits for it. */
export class BackgroundTranslator implements Translator {
  readonly #port: MessagePort;
  readonly #words: Int32Array;
  readonly #arrived: number;
  #taken = 0;

  /** `cpu`: address of the vCPU's state. */
  constructor(port: MessagePort, memory: WebAssembly.Memory, cpu: number) {
    this.#port = port;
    this.#words = new Int32Array(memory.buffer);
    this.#arrived = (cpu + S_BATCHES) >> 2;
  }

  request(request: RegionRequest, epoch: number): void {
    this.#port.postMessage({ request, epoch });
  }

  take(): readonly TranslatedBatch[] {
    const batches: TranslatedBatch[] = [];
    while (Atomics.load(this.#words, this.#arrived) !== this.#taken) {
      const next = receiveMessageOnPort(this.#port) as { message: TranslatedBatch } | undefined;
      if (next === undefined) break;
      this.#taken = (this.#taken + 1) | 0;
      batches.push(next.message);
    }
    return batches;
  }
}
