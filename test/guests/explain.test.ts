import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import type { ExplainRequest, Explanation } from '#control/explain.ts';
import { findModel } from '#cpu/cpuid.ts';
import { explainCode } from '#cpu/explain-code.ts';
import type { HandlerMap } from '#cpu/handlers.ts';
import { TABLE } from '#isa/x86/table.ts';
import { explain } from '#vmm/explain.ts';
import { encode } from '../x86/encode.ts';
import { Random } from '../x86/random.ts';
import { smallKernel } from './small-kernel.ts';

const HANDLERS = new URL('../../build/handlers.json', import.meta.url);
const base = { cpuModel: 'ring0-v2', mostBlocks: 20 };

function ofBytes(bytes: Uint8Array, more: Partial<ExplainRequest> = {}): Explanation {
  return explain({ ...base, raw: { bytes, base: 0x1000n }, mostBytes: bytes.length, ...more });
}

function partOf({ parts }: Explanation, text: RegExp) {
  const found = parts.find((p) => p.text !== undefined && text.test(p.text));
  assert.ok(found !== undefined, `no part for ${text}`);
  return found;
}

const KERNEL = `
_start: mov $10, %ecx
1: call sum
  loop 1b
  hlt
.globl sum
sum: add $8, %eax
  sub %eax, %ebx
  ret
`;

describe('explain', () => {
  it('follows calls of an ELF kernel and names what it finds', () => {
    const found = explain({ ...base, kernel: smallKernel(KERNEL), at: '_start' });
    assert.equal(found.mode, 32);
    assert.equal(found.name, '_start');
    assert.equal(partOf(found, /^add/).name, 'sum');
    assert.match(partOf(found, /^call/).text ?? '', /sum/);
    assert.equal(partOf(found, /^hlt/).part, 'interpreted');
  });

  it('makes a loop once, though the block before it goes on into it', () => {
    const kernel = smallKernel(`
_start: mov $10, %ecx
1: add $8, %eax
  jnc 2f
  inc %ebx
2: dec %ecx
  jnz 1b
  hlt
`);
    const { parts } = explain({ ...base, kernel, at: '_start' });
    assert.equal(parts.filter(({ text }) => text?.startsWith('add')).length, 1);
  });

  it('says what becomes of flags', () => {
    const found = explain({ ...base, kernel: smallKernel(KERNEL), at: 'sum' });
    const flags = (text: RegExp) => partOf(found, text).optimised?.find((l) => l.includes('flags'));
    assert.match(flags(/^add/) ?? '', /dead/);
    assert.match(flags(/^sub/) ?? '', /computed where read/);
  });

  it('says why an instruction is interpreted', () => {
    // wbinvd; then 16-bit code, none of which is translated.
    assert.notEqual(partOf(ofBytes(Uint8Array.of(0x90, 0x0f, 0x09)), /wbinvd/).why, undefined);
    const real = ofBytes(Uint8Array.of(0x8b, 0x07, 0xf4), { mode: 16 });
    assert.equal(real.wasmBytes, 0);
    assert.match(partOf(real, /^mov/).why ?? '', /segment/);
  });

  it('has a name for all WebAssembly that instructions become', () => {
    const random = new Random(3);
    const handlers = JSON.parse(readFileSync(HANDLERS, 'utf8')) as HandlerMap;
    const { features } = findModel(base.cpuModel);
    // One of each name: what a row of the same name adds is mostly another place of its operands.
    const rows = new Map(
      TABLE.filter((r) => r.options.not64 !== true).map((row) => [row.name, row]),
    );
    const one = [...rows.values()].map((row) => encode(row, random).bytes);
    for (let i = 0; i < one.length; i += 6) {
      const page = new Uint8Array(4096);
      const bytes = one.slice(i, i + 6).flatMap((b) => [...b]);
      page.set(bytes);
      page.fill(0xf4, bytes.length); // HLT
      const readPage = (vaddr: bigint) => (vaddr === 0x1000n ? page : undefined);
      const code = { mode: 64, at: 0x1000n, mostBlocks: 6, readPage } as const;
      const lines = explainCode({ handlers, features }, code).parts.flatMap((p) => p.wasm);
      const ends = lines.filter(({ text }) => text === 'end').length;
      assert.equal(ends, lines.filter(({ text }) => /^(block|loop|if)/.test(text)).length);
    }
  });

  it('reads a line that goes over two pages of a raw file', () => {
    const bytes = new Uint8Array(4096 + 8).fill(0x90);
    bytes.set([0x48, 0x01, 0xd8], 4095);
    const found = ofBytes(bytes, { at: '0x1ffe', mostBytes: 16 });
    assert.ok(found.blocks >= 1);
    assert.match(found.parts.map((p) => p.text ?? '').join(' '), /nop/);
  });
});
