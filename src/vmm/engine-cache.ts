import { createHash } from 'node:crypto';
import path from 'node:path';
import { deserialize, serialize } from 'node:v8';
import type { SoftwareVcpu } from '#cpu/vcpu.ts';
import { openStored, writeStored } from './cache-file.ts';
import { countOptimised, machineCodeOf } from './optimised-code.ts';

// What a run has learnt of the engine itself: machine code of the core and the interpreter, and the templates of
// instructions. It serves every guest. See docs/adr/0009.

const SUFFIX = '.engine';
/** Newly optimised functions, or templates, that are worth writing the file again for. */
const WORTH_WRITING = { functions: 8, templates: 256 };

export interface EngineCode {
  /** Undefined where the build has left machine code of both. */
  readonly core: Uint8Array<ArrayBuffer> | undefined;
  readonly interpreter: Uint8Array<ArrayBuffer> | undefined;
  readonly templates: Uint8Array;
  readonly optimised: number;
}

/** The file, and what the vCPU's thread needs of what stands there. */
export interface EngineCache extends Partial<Pick<EngineCode, 'templates' | 'optimised'>> {
  readonly file: string;
  /** The engine runs machine code that the build has left: there is none to be learnt. */
  readonly ahead: boolean;
}

/** What the engine's code is kept under. `engine`: what tells builds apart. */
export function engineFile(folder: string, engine: string, cpuModel: string): string {
  const hash = createHash('sha256');
  for (const part of [engine, process.version, process.arch, cpuModel]) hash.update(`${part}\0`);
  return path.join(folder, `${hash.digest('hex').slice(0, 32)}${SUFFIX}`);
}

/** What an earlier run has left; undefined when there is nothing or it is damaged. */
export function readEngine(file: string): EngineCode | undefined {
  const stored = openStored(file);
  return stored && (deserialize(stored.head) as EngineCode);
}

interface Built {
  readonly core: WebAssembly.Module;
  readonly interpreter: WebAssembly.Module;
}

/** Writes what a run has learnt, when that is worth it. */
export function writeEngine(
  { file, ahead, ...before }: EngineCache,
  { core, interpreter }: Built,
  vcpu: SoftwareVcpu,
): void {
  const inCore = countOptimised(Object.values(vcpu.core).filter((f) => typeof f === 'function'));
  const optimised = inCore + countOptimised([vcpu.interpret]);
  const templates = vcpu.templates.save();
  const more =
    (!ahead && optimised - (before.optimised ?? 0) >= WORTH_WRITING.functions) ||
    templates.length - (before.templates?.length ?? 0) >= WORTH_WRITING.templates * 96;
  // V8 gives no code of a module of which it has optimised nothing.
  if (!more || inCore === 0 || optimised === inCore) return;
  const code: EngineCode = {
    core: ahead ? undefined : machineCodeOf(core),
    interpreter: ahead ? undefined : machineCodeOf(interpreter),
    templates,
    optimised: ahead ? 0 : optimised,
  };
  try {
    writeStored(file, serialize(code), []);
  } catch {
    // A disk that is full or read-only: the next run learns it again.
  }
}
