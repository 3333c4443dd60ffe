import { existsSync, readFileSync } from 'node:fs';
import { RequestError } from '#base/errors.ts';
import type { VmConfig } from '#control/vm.ts';
import type { HandlerMap } from '#cpu/handlers.ts';
import { engineFile, readEngine } from './engine-cache.ts';
import { moduleOf, openSealed } from './optimised-code.ts';
import type { WorkerStart } from './worker-protocol.ts';

const BUILD = new URL('../../build/', import.meta.url);

/** What a build has made, compiled. */
export type Engine = Pick<WorkerStart, 'core' | 'interpreter' | 'handlers' | 'engineCache'>;

const file = (name: string) => readFileSync(new URL(name, BUILD));

/** What tells builds apart. */
export function engineStamp(): string {
  return file('stamp').toString('latin1');
}

/** @throws {RequestError} */
export function loadEngine({
  translationCache,
  cpuModel,
}: Pick<VmConfig, 'translationCache' | 'cpuModel'>): Engine {
  try {
    const handlers = JSON.parse(file('handlers.json').toString()) as HandlerMap;
    const [core, interpreter] = [built('core'), built('interpreter')];
    const ahead = core !== undefined && interpreter !== undefined;
    if (translationCache === undefined) {
      return {
        core: core ?? compile('core'),
        interpreter: interpreter ?? compile('interpreter'),
        handlers,
      };
    }
    const cache = engineFile(translationCache, engineStamp(), cpuModel);
    const known = readEngine(cache);
    return {
      core: core ?? compile('core', known?.core),
      interpreter: interpreter ?? compile('interpreter', known?.interpreter),
      handlers,
      engineCache: {
        file: cache,
        ahead,
        ...(known && { templates: known.templates, optimised: known.optimised }),
      },
    };
  } catch (cause) {
    throw new RequestError("the engine has not been built; run 'npm run build'", undefined, {
      cause,
    });
  }
}

/** A module of which the build has left machine code that this Node takes. */
function built(name: string): WebAssembly.Module | undefined {
  const url = new URL(`${name}.code`, BUILD);
  if (!existsSync(url)) return undefined; // as in the npm package
  const wasm = file(`${name}.wasm`);
  const code = openSealed(readFileSync(url), wasm);
  return code === undefined || code.length === 0 ? undefined : moduleOf(code, wasm);
}

/** `code`: its machine code, if there is some. */
function compile(name: string, code?: Uint8Array<ArrayBuffer>): WebAssembly.Module {
  const wasm = file(`${name}.wasm`);
  return (code && moduleOf(code, wasm)) ?? new WebAssembly.Module(wasm);
}

/** What machines/boot/lz4.ts unpacks kernels with. */
export function lz4Module(): WebAssembly.Module {
  return built('lz4') ?? compile('lz4');
}
