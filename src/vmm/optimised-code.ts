import { createHash } from 'node:crypto';
import { setFlagsFromString } from 'node:v8';

// V8's own form of a compiled module. It is reached through functions that V8 has for its tests: where they are missing
// or refuse, a module is compiled from its WebAssembly as ever.

interface Natives {
  readonly serialize: (module: WebAssembly.Module) => ArrayBuffer;
  readonly deserialize: (code: ArrayBuffer, wasm: Uint8Array) => WebAssembly.Module | undefined;
  readonly isOptimised: (f: unknown) => boolean;
  readonly hasTrapHandler: () => boolean;
}

/** Sets the flags of V8 that WebAssembly needs, before there are threads. They are part of what machine code is known by. */
export function setEngineFlags(): void {
  // Translated code says which side of its branches is rare (docs/adr/0008); V8 listens only when asked to.
  setFlagsFromString('--experimental-wasm-branch-hinting');
  setFlagsFromString('--allow-natives-syntax'); // for `natives`
  // JavaScript runs ten times as long as is usual before TurboFan, which has translated code to compile, is given it (docs/adr/0009).
  setFlagsFromString('--invocation-count-for-turbofan=30000');
}

/** V8 compiles all of a module when it is made, and with its optimising compiler. */
const AHEAD = ['liftoff', 'wasm-lazy-compilation', 'wasm-dynamic-tiering'];

/** The machine code of all functions of a module; undefined where V8 gives none. `setEngineFlags` comes first. */
export function optimisedCodeOf(
  wasm: Uint8Array<ArrayBuffer>,
): Uint8Array<ArrayBuffer> | undefined {
  for (const flag of AHEAD) setFlagsFromString(`--no-${flag}`);
  try {
    const module = new WebAssembly.Module(wasm);
    // V8 takes machine code back with the flags it was given with.
    for (const flag of AHEAD) setFlagsFromString(`--${flag}`);
    return machineCodeOf(module);
  } finally {
    for (const flag of AHEAD) setFlagsFromString(`--${flag}`);
  }
}

function compileNatives(): Natives | undefined {
  try {
    return {
      serialize: new Function('m', 'return %SerializeWasmModule(m)') as Natives['serialize'],
      deserialize: new Function(
        'code',
        'wasm',
        'return %DeserializeWasmModule(code, wasm)',
      ) as Natives['deserialize'],
      isOptimised: new Function('f', 'return %IsTurboFanFunction(f)') as Natives['isOptimised'],
      hasTrapHandler: new Function(
        'return %IsWasmTrapHandlerEnabled()',
      ) as Natives['hasTrapHandler'],
    };
  } catch {
    return undefined;
  }
}

let natives: Natives | undefined;

function theNatives(): Natives | undefined {
  natives ??= compileNatives();
  return natives;
}

/** How many of the functions V8 has optimised. */
export function countOptimised(functions: readonly unknown[]): number {
  const found = theNatives();
  return found === undefined ? 0 : functions.filter((f) => found.isOptimised(f)).length;
}

/** The machine code of a module. One at least of its functions must have been optimised: V8 ends the process otherwise. */
export function machineCodeOf(module: WebAssembly.Module): Uint8Array<ArrayBuffer> | undefined {
  const found = theNatives();
  return found && new Uint8Array(found.serialize(module));
}

/**
 * The module that `code` was taken from, which nobody may have changed: V8 looks at a version and flags alone. Undefined when it
 * does not take it, or has no trap handler: code that was made with one checks no bounds.
 */
export function moduleOf(
  code: Uint8Array<ArrayBuffer>,
  wasm: Uint8Array,
): WebAssembly.Module | undefined {
  const found = theNatives();
  // A Buffer, as files are read, has a `slice` that copies nothing.
  return found?.hasTrapHandler() ? found.deserialize(new Uint8Array(code).buffer, wasm) : undefined;
}

const SEAL_BYTES = 32;

function sealOf(code: Uint8Array, wasm: Uint8Array): Uint8Array {
  return createHash('sha256').update(`${wasm.length} `).update(wasm).update(code).digest();
}

/** `code` with what ties it to its module, for a file. */
export function seal(code: Uint8Array, wasm: Uint8Array): Uint8Array {
  return Buffer.concat([sealOf(code, wasm), code]);
}

/** The code in a file, when it is whole and of this module. */
export function openSealed(
  sealed: Uint8Array<ArrayBuffer>,
  wasm: Uint8Array,
): Uint8Array<ArrayBuffer> | undefined {
  const code = sealed.subarray(SEAL_BYTES);
  return sealOf(code, wasm).every((byte, i) => byte === sealed[i]) ? code : undefined;
}
