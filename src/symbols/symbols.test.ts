import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { findKallsyms } from './kallsyms.ts';
import { openSymbols } from './open-symbols.ts';
import { SymbolError } from './symbol-error.ts';
import { type GuestSymbol, SymbolTable } from './symbol-table.ts';

const text = (lines: string) => new TextEncoder().encode(lines);
const MAP = `0000000000000000 A __per_cpu_start
0000000000001000 D cpu_info
ffffffff81000000 T _text
ffffffff81000000 T startup_64
ffffffff81000040 t verify_cpu
ffffffff82000000 D init_task
`;

describe('SymbolTable', () => {
  const table = openSymbols(text(MAP));
  const cases: { address: bigint; name: string | undefined }[] = [
    { address: 0xffffffff81000000n, name: 'startup_64' },
    { address: 0xffffffff8100003fn, name: 'startup_64+0x3f' },
    { address: 0xffffffff81000040n, name: 'verify_cpu' },
    { address: 0xffffffff82000008n, name: 'init_task+0x8' },
    { address: 0xffffffff82010000n, name: undefined },
    { address: 0xffffffff80ffffffn, name: undefined },
    { address: 0x1000n, name: undefined },
  ];
  for (const { address, name } of cases)
    it(`0x${address.toString(16)} is ${name}`, () => assert.equal(table.nameOf(address), name));

  it('knows code from data, and the other way', () => {
    assert.equal(table.find(0xffffffff81000041n)?.isCode, true);
    assert.equal(table.find(0xffffffff82000000n)?.isCode, false);
    assert.equal(table.addressOf('verify_cpu'), 0xffffffff81000040n);
    assert.equal(table.addressOf('nothing'), undefined);
  });

  it('is moved by the slide', () => {
    const symbols: GuestSymbol[] = [{ address: 0xffffffff81000000n, name: 'a', isCode: true }];
    const moved = new SymbolTable(symbols, 0x1400000n);
    assert.equal(moved.nameOf(0xffffffff82400010n), 'a+0x10');
    assert.equal(moved.addressOf('a'), 0xffffffff82400000n);
  });
});

describe('what is no symbol file', () => {
  const cases = [
    { name: 'other text', file: text('hello\nworld\n'), message: /neither an ELF .* System\.map/ },
    { name: 'a damaged map', file: text(`${MAP}ffffffff82zz T x\n`), message: /line 7/ },
    {
      name: "Debian's stub",
      file: text('ffffffffffffffff B The real System.map is\n'),
      message: /neither/,
    },
    { name: 'a map of nothing', file: text('0000000000000000 U x\n'), message: /no symbol/ },
    { name: 'a cut ELF', file: Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 2, 1), message: /header/ },
  ];
  for (const { name, file, message } of cases)
    it(name, () => {
      assert.throws(
        () => openSymbols(file),
        (error) => error instanceof SymbolError && message.test(error.message),
      );
    });
});

describe('an ELF file', () => {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'ring0-symbols-'));
  after(() => rmSync(dir, { recursive: true }));
  const source = path.join(dir, 'a.s');
  const file = path.join(dir, 'a.elf');
  writeFileSync(
    source,
    '.text\n.globl _start\n_start: nop\nsecond: ret\n.data\nvalue: .long 1\n.bss\nroom: .skip 8\n',
  );

  for (const [flag, emulation, base] of [
    ['--64', 'elf_x86_64', 0x400000n],
    ['--32', 'elf_i386', 0x8048000n],
  ] as const) {
    it(`has the symbols that nm has: ${emulation}`, () => {
      execFileSync('as', [flag, '-o', `${file}.o`, source]);
      execFileSync('ld', [
        '-m',
        emulation,
        `-Ttext=0x${base.toString(16)}`,
        '-o',
        file,
        `${file}.o`,
      ]);
      const table = openSymbols(readFileSync(file));
      const listed = execFileSync('nm', [file], { encoding: 'utf8' });
      for (const name of ['_start', 'second', 'value', 'room']) {
        const address = new RegExp(`^([0-9a-f]+) . ${name}$`, 'm').exec(listed)?.[1] ?? '';
        assert.equal(table.addressOf(name), BigInt(`0x${address}`));
      }
      assert.equal(table.find(base + 1n)?.isCode, true);
    });
  }

  it('never fails but with a SymbolError, whatever is cut off or changed', () => {
    execFileSync('as', ['--64', '-o', file, source]);
    const good = readFileSync(file);
    for (let length = 0; length < good.length; length += 7) quiet(good.subarray(0, length));
    for (let at = 0; at < good.length; at++) {
      const bad = Uint8Array.from(good);
      bad[at] = (bad[at] ?? 0) ^ 0xff;
      quiet(bad);
    }
  });
});

function quiet(file: Uint8Array): void {
  try {
    openSymbols(file);
  } catch (error) {
    if (!(error instanceof SymbolError)) throw error;
  }
}

/** The tables as scripts/kallsyms.c writes them, with one name for each token. `bits`: of the kernel. */
function kallsyms(
  count: number,
  layout: 'old' | 'seqs' | 'new' | 'newest',
  bits: 32 | 64 = 64,
): Uint8Array {
  const bytes: number[] = Array.from({ length: 64 }, () => 7);
  const align = () => {
    while (bytes.length % (bits / 8) !== 0) bytes.push(0);
  };
  const word = (value: number) => bytes.push(...[0, 8, 16, 24].map((s) => (value >>> s) & 0xff));
  const addresses = () => {
    // Only kernels of 64 bits had addresses of per-CPU variables apart.
    const isPlain = bits === 32 || layout === 'newest';
    for (let i = 0; i < count; i++) word(isPlain ? i * 16 : -1 - i * 16);
    align();
    word(bits === 64 ? 0x8100_0000 : 0xc100_0000);
    if (bits === 64) word(0xffff_ffff);
  };
  if (!layout.startsWith('new')) addresses();
  word(count);
  align();
  const names = bytes.length;
  const markers: number[] = [];
  for (let i = 0; i < count; i++) {
    if (i % 256 === 0) markers.push(bytes.length - names);
    bytes.push(
      4,
      't'.charCodeAt(0),
      200,
      ...`${i % 100}`
        .padStart(2, '0')
        .split('')
        .map((c) => c.charCodeAt(0)),
    );
  }
  align();
  markers.forEach(word);
  align();
  if (layout === 'seqs') bytes.push(...Array.from({ length: count * 3 }, (_, i) => i & 0xff));
  align();
  const table = bytes.length;
  const index: number[] = [];
  for (let i = 0; i < 256; i++) {
    index.push(bytes.length - table);
    const token = i === 200 ? 'fn_' : String.fromCharCode(i === 0 ? 1 : i);
    bytes.push(...token.split('').map((c) => c.charCodeAt(0)), 0);
  }
  align();
  for (const offset of index) bytes.push(offset & 0xff, offset >> 8);
  if (layout.startsWith('new')) addresses();
  return Uint8Array.from([...bytes, ...Array.from({ length: 64 }, () => 9)]);
}

describe('kallsyms in memory', () => {
  for (const layout of ['old', 'seqs', 'new', 'newest'] as const) {
    it(`is found: ${layout} layout`, () => {
      const symbols = findKallsyms(kallsyms(1500, layout)) ?? [];
      assert.equal(symbols.length, 1500);
      assert.deepEqual(symbols[3], { address: 0xffffffff81000030n, name: 'fn_03', isCode: true });
    });
    // Where tables of words of 4 bytes begin at multiples of 8 by chance, and where they do not.
    for (const count of [1500, 1501, 1502, 1503])
      it(`is found in a 32-bit kernel: ${layout} layout, ${count} names`, () => {
        const symbols = findKallsyms(kallsyms(count, layout, 32)) ?? [];
        assert.equal(symbols.length, count);
        assert.deepEqual(symbols[3], { address: 0xc1000030n, name: 'fn_03', isCode: true });
      });
  }

  it('is not found where it is damaged', () => {
    const bytes = kallsyms(1500, 'old');
    bytes[bytes.length - 100] = 0xee; // the index of the tokens
    assert.equal(findKallsyms(bytes), undefined);
    assert.equal(findKallsyms(new Uint8Array(100000)), undefined);
  });

  it('whatever is changed in it, it ends, and soon', () => {
    const good = kallsyms(1500, 'seqs');
    const began = process.threadCpuUsage();
    for (let i = 0; i < 300; i++) {
      const bad = Uint8Array.from(good);
      // Not random: every part of the tables is hit, from their beginning to their end.
      for (let at = i * 7; at < bad.length; at += 997 + i)
        bad[at] = (bad[at] ?? 0) ^ (1 << (i % 8));
      for (const { address } of findKallsyms(bad) ?? []) assert.ok(address < 1n << 64n);
    }
    assert.ok(process.threadCpuUsage(began).user < 20e6);
  });

  it('memory that looks like tables everywhere is soon left alone', () => {
    const tables = kallsyms(1500, 'old');
    const copies = 1000;
    const many = new Uint8Array(tables.length * copies);
    // Without their addresses.
    for (let i = 0; i < copies; i++) many.set(tables.subarray(64 + 1504 * 4), i * tables.length);
    const began = process.threadCpuUsage();
    assert.equal(findKallsyms(many), undefined);
    assert.ok(process.threadCpuUsage(began).user < 5e6);
  });
});
