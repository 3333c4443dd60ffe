import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import type { TranslatedBatch, Translator } from '#cpu/hot-tier.ts';
import type { RegionRequest } from '#cpu/region-compiler.ts';
import { S_BATCHES } from '#ir/state.ts';
import type { CachedBatch } from './translation-cache.ts';

/** Has another thread translate. The vCPU's thread never waits for it. */
export class BackgroundTranslator implements Translator {
  readonly #port: MessagePort;
  readonly #words: Int32Array;
  readonly #arrived: number;
  /** The count at the last look; the first look is always taken, as the vCPU's reset clears the count. */
  #taken: number | undefined;
  /** What has come from earlier runs. */
  readonly cached: CachedBatch[] = [];

  /** `cpu`: address of the vCPU's state. */
  constructor(port: MessagePort, memory: WebAssembly.Memory, cpu: number) {
    this.#port = port;
    this.#words = new Int32Array(memory.buffer);
    this.#arrived = (cpu + S_BATCHES) >> 2;
  }

  request(request: RegionRequest, epoch: number): void {
    this.#port.postMessage({ request, epoch });
  }

  hasNews(): boolean {
    return Atomics.load(this.#words, this.#arrived) !== this.#taken;
  }

  /** One at a time: what an earlier run has left comes all at once. */
  take(): readonly (TranslatedBatch | CachedBatch)[] {
    const arrived = Atomics.load(this.#words, this.#arrived);
    if (arrived === this.#taken) return [];
    const next = receiveMessageOnPort(this.#port) as
      | { message: TranslatedBatch | CachedBatch }
      | undefined;
    if (next === undefined) {
      this.#taken = arrived;
      return [];
    }
    const batch = next.message;
    if (!('epoch' in batch)) this.cached.push(batch);
    return [batch];
  }
}
