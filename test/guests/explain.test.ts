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
    for (const { why } of real.parts) assert.match(why ?? '', /segments/);
  });

  it('ends where the code does', () => {
    const last = (bytes: readonly number[], more: Partial<ExplainRequest> = {}) =>
      ofBytes(Uint8Array.from(bytes), more).parts.at(-1);
    const whole = last([0x48, 0x01, 0xd8]);
    assert.deepEqual([whole?.part, whole?.address], ['end', '0x1003']);
    // JMP without its displacement; MOV whose last bytes would be in the next page.
    const cut = last([0x48, 0x01, 0xd8, 0xe9]);
    assert.deepEqual([cut?.part, cut?.address, cut?.bytes], ['end', '0x1003', 'e9']);
    const raw = { bytes: Uint8Array.of(0x90, 0xb8, 0x01), base: 0x1ffdn };
    const split = explain({ ...base, raw }).parts.at(-1);
    assert.deepEqual([split?.part, split?.address, split?.bytes], ['end', '0x1ffe', 'b8 01']);
    const highest = { bytes: Uint8Array.of(0x90, 0x90), base: 0xffff_ffff_ffff_ffffn };
    assert.equal(explain({ ...base, raw: highest }).parts.at(-1)?.part, 'end');
  });

  it('shows what is no instruction, and what it raises', () => {
    const undefinedCode = ofBytes(Uint8Array.of(0x90, 0x0f, 0xff, 0x90)).parts.at(-1);
    assert.deepEqual(
      [undefinedCode?.address, undefinedCode?.bytes, undefinedCode?.text],
      ['0x1001', '0f ff', '(undefined)'],
    );
    assert.match(undefinedCode?.why ?? '', /#UD/);
    const tooLong = ofBytes(new Uint8Array(16).fill(0x66)).parts.at(-1);
    assert.match(tooLong?.why ?? '', /#GP/);
  });

  it('shows an instruction in two pages, and what comes behind it', () => {
    const raw = { bytes: Uint8Array.of(0x90, 0x48, 0x01, 0xd8, 0xc3), base: 0x1ffen };
    const found = explain({ ...base, raw });
    const add = partOf(found, /^add/);
    assert.deepEqual([add.address, add.bytes], ['0x1fff', '48 01 d8']);
    assert.match(add.why ?? '', /two pages/);
    assert.equal(partOf(found, /^ret/).address, '0x2002');
  });

  it('begins at the entry of a kernel that is linked high and loaded low', () => {
    // A vmlinux has its physical address in the header, and its code at virtual ones.
    const kernel = Uint8Array.from(smallKernel(KERNEL));
    const view = new DataView(kernel.buffer);
    const table = view.getUint32(28, true);
    const segments = Array.from({ length: view.getUint16(44, true) }, (_, i) => table + i * 32);
    for (const at of segments)
      if (view.getUint32(at, true) === 1)
        view.setUint32(at + 8, view.getUint32(at + 12, true) + 0xc0000000, true);
    const entry = view.getUint32(24, true) + 0xc0000000;
    assert.equal(explain({ ...base, kernel }).at, `0x${entry.toString(16)}`);
  });

  it('refuses an address that the mode does not have', () => {
    const raw = { bytes: Uint8Array.of(0x90), base: 1n << 32n };
    const inMode = (mode: 16 | 32 | 64) => () => explain({ ...base, raw, mode });
    const says = { name: 'RequestError', field: 'at', message: /beyond the addresses of/ };
    assert.throws(inMode(32), says);
    assert.throws(inMode(16), says);
    assert.doesNotThrow(inMode(64));
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
      const endOf = (vaddr: bigint) => (vaddr >> 12n === 1n ? 0x2000n : undefined);
      const code = { mode: 64, at: 0x1000n, mostBlocks: 6, readPage, endOf } as const;
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
