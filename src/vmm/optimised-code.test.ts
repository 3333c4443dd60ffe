import assert from 'node:assert/strict';
import { it } from 'node:test';
import { countOptimised, moduleOf, optimisedCodeOf, setEngineFlags } from './optimised-code.ts';

/** (module (func (export "f") (result i32) (i32.const 7))) */
const WASM = new Uint8Array([
  ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
  ...[1, 5, 1, 0x60, 0, 1, 0x7f],
  ...[3, 2, 1, 0],
  ...[7, 5, 1, 1, 0x66, 0, 0],
  ...[10, 6, 1, 4, 0, 0x41, 7, 0x0b],
]);

it('code that is made ahead is optimised code, before anything has run', () => {
  setEngineFlags();
  const code = optimisedCodeOf(WASM);
  assert(code !== undefined);
  const taken = moduleOf(code, WASM);
  assert(taken !== undefined);
  const { f } = new WebAssembly.Instance(taken).exports;
  assert.equal(countOptimised([f]), 1);
  assert.equal((f as () => number)(), 7);
});

it('code that V8 does not know is no module', () => {
  const code = optimisedCodeOf(WASM);
  assert(code !== undefined);
  assert.equal(
    moduleOf(
      code.map((byte) => byte ^ 0xff),
      WASM,
    ),
    undefined,
  );
});
