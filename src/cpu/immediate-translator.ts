import type { TranslatedBatch, Translator } from './hot-tier.ts';
import type { RegionCompiler, RegionRequest } from './region-compiler.ts';

/** Regions in a module at most: many in one cost less memory and less time per call between them, and wait for each other. */
export const MOST_REGIONS = 16;

/** Translates a batch and compiles it. */
export function translate(
  compiler: RegionCompiler,
  requests: readonly RegionRequest[],
  epoch: number,
): TranslatedBatch {
  const began = performance.now();
  const batch = compiler.compile(requests);
  const module = batch.regions.length === 0 ? undefined : new WebAssembly.Module(batch.wasm);
  return { ...batch, module, epoch, ms: performance.now() - began };
}

/** Translates on the vCPU's own thread, at the next look around: the same guest always gets the same regions. */
export class ImmediateTranslator implements Translator {
  readonly #compiler: RegionCompiler;
  #waiting: { request: RegionRequest; epoch: number }[] = [];

  constructor(compiler: RegionCompiler) {
    this.#compiler = compiler;
  }

  request(request: RegionRequest, epoch: number): void {
    this.#waiting.push({ request, epoch });
  }

  hasNews(): boolean {
    return this.#waiting.length > 0;
  }

  take(): readonly TranslatedBatch[] {
    const waiting = this.#waiting;
    this.#waiting = [];
    return waiting.map(({ request, epoch }) => translate(this.#compiler, [request], epoch));
  }
}
