import { readFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { RequestError } from '#base/errors.ts';
import type { VmConfig } from '#control/vm.ts';
import type { HandlerMap } from '#cpu/handlers.ts';
import { engineFile, readEngine } from './engine-cache.ts';
import { moduleOf, NATIVES_FLAG } from './optimised-code.ts';
import type { WorkerStart } from './worker-protocol.ts';

const BUILD = new URL('../../build/', import.meta.url);

/** What a build has made, compiled. */
export type Engine = Pick<WorkerStart, 'core' | 'interpreter' | 'handlers' | 'engineCache'>;

const file = (name: string) => readFileSync(new URL(name, BUILD));

/** What tells builds apart. */
export function engineStamp(): string {
  return file('stamp').toString('latin1');
}

/** Sets the flags of V8 that WebAssembly needs, before there are threads. */
export function setEngineFlags({ translationCache }: VmConfig): void {
  // Translated code says which side of its branches is rare (docs/adr); V8 listens only when asked to.
  setFlagsFromString('--experimental-wasm-branch-hinting');
  if (translationCache !== undefined) setFlagsFromString(NATIVES_FLAG);
}

/** @throws {RequestError} */
export function loadEngine({ translationCache, cpuModel }: VmConfig): Engine {
  try {
    const handlers = JSON.parse(file('handlers.json').toString()) as HandlerMap;
    if (translationCache === undefined)
      return { core: compile('core.wasm'), interpreter: compile('interpreter.wasm'), handlers };
    const cache = engineFile(translationCache, engineStamp(), cpuModel);
    const { core, interpreter, ...before } = readEngine(cache) ?? {};
    return {
      core: compile('core.wasm', core),
      interpreter: compile('interpreter.wasm', interpreter),
      handlers,
      engineCache: { file: cache, ...before },
    };
  } catch (cause) {
    throw new RequestError("the engine has not been built; run 'npm run build'", undefined, {
      cause,
    });
  }
}

/** `code`: its machine code, if there is some. */
function compile(name: string, code?: Uint8Array<ArrayBuffer>): WebAssembly.Module {
  const wasm = file(name);
  return (code && moduleOf(code, wasm)) ?? new WebAssembly.Module(wasm);
}

/** What machines/boot/lz4.ts unpacks kernels with. */
export function lz4Module(): WebAssembly.Module {
  return new WebAssembly.Module(file('lz4.wasm'));
}
