// V8's own form of a compiled module. It is reached through functions that V8 has for its tests: where they are missing
// or refuse, a module is compiled from its WebAssembly as ever.

interface Natives {
  readonly serialize: (module: WebAssembly.Module) => ArrayBuffer;
  readonly deserialize: (code: ArrayBuffer, wasm: Uint8Array) => WebAssembly.Module | undefined;
  readonly isOptimised: (f: unknown) => boolean;
}

/** The flag of V8 that `natives` needs; to be set before the first module is compiled. */
export const NATIVES_FLAG = '--allow-natives-syntax';

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

/** The module that `code` was taken from; undefined when V8 does not take it: another version, other flags. */
export function moduleOf(
  code: Uint8Array<ArrayBuffer>,
  wasm: Uint8Array,
): WebAssembly.Module | undefined {
  return theNatives()?.deserialize(code.slice().buffer, wasm);
}
