import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { it } from 'node:test';
import {
  countOptimised,
  moduleOf,
  openSealed,
  optimisedCodeOf,
  seal,
  setEngineFlags,
} from './optimised-code.ts';

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

it('code in a file is taken when it is whole, and of the module', () => {
  const code = optimisedCodeOf(WASM);
  assert(code !== undefined);
  const sealed = new Uint8Array(seal(code, WASM));
  assert.deepEqual(openSealed(sealed, WASM), code);
  const other = WASM.with(-2, 8);
  assert.equal(openSealed(sealed, other), undefined);
  for (const length of [0, 31, 32, 100, sealed.length - 1])
    assert.equal(openSealed(sealed.slice(0, length), WASM), undefined, `${length} bytes`);
  for (const at of [0, 31, 32, 40, sealed.length - 1])
    assert.equal(openSealed(sealed.with(at, (sealed[at] ?? 0) ^ 1), WASM), undefined, `byte ${at}`);
});

// By a process of its own: in this one V8 finds the module that it has made, whatever it is given.
it('code out of a file is a module, but not where bounds are to be checked', () => {
  const code = optimisedCodeOf(WASM);
  assert(code !== undefined);
  const file = new URL('optimised-code.ts', import.meta.url).href;
  const script = `
    import { moduleOf, openSealed, setEngineFlags } from ${JSON.stringify(file)};
    setEngineFlags();
    const [sealed, wasm] = process.argv.slice(1).map((s) => Buffer.from(s, 'base64'));
    process.stdout.write(String(moduleOf(openSealed(sealed, wasm), wasm) !== undefined));`;
  const texts = [seal(code, WASM), WASM].map((bytes) => Buffer.from(bytes).toString('base64'));
  const isTaken = (...flags: string[]) =>
    execFileSync(process.execPath, [...flags, '--input-type=module', '-e', script, ...texts], {
      encoding: 'utf8',
    });
  assert.equal(isTaken(), 'true');
  assert.equal(isTaken('--disable-wasm-trap-handler'), 'false');
});
