import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BootError } from './boot-error.ts';
import { findMultiboot } from './multiboot-header.ts';
import { planBoot } from './plan.ts';
import type { BootInput } from './plan-types.ts';
import { bootInput, makeElf32, makeElf64, multibootHeader } from './testing.ts';

const MIB = 2 ** 20;
const ADDRESSES = 1 << 16;
const kernel = makeElf32(MIB + 12, MIB, multibootHeader(3));

function behind(offset: number, header: Uint8Array): Uint8Array {
  const file = new Uint8Array(offset + header.length);
  file.set(header, offset);
  return file;
}

/** Memory as the plan leaves it, read by words and strings. */
function booted(input: BootInput) {
  const plan = planBoot(input);
  const memory = new Uint8Array(input.memoryBytes);
  for (const { paddr, bytes } of plan.writes) memory.set(bytes, paddr);
  const view = new DataView(memory.buffer);
  return {
    plan,
    memory,
    info: Number(plan.state.regs?.[3]),
    word: (at: number) => view.getUint32(at, true),
    text: (at: number) => Buffer.from(memory.subarray(at, memory.indexOf(0, at))).toString(),
  };
}

describe('findMultiboot', () => {
  const badSum = multibootHeader(3);
  badSum[8] = (badSum[8] ?? 0) ^ 1;
  const cases = [
    { name: 'at the start', file: behind(0, multibootHeader(0)), expected: 0 },
    { name: 'as the last of 8 KiB', file: behind(8180, multibootHeader(0)), expected: 8180 },
    { name: 'past 8 KiB', file: behind(8184, multibootHeader(0)), expected: undefined },
    { name: 'not on four bytes', file: behind(2, multibootHeader(0)), expected: undefined },
    { name: 'a wrong checksum', file: badSum, expected: undefined },
    { name: 'cut off', file: multibootHeader(0).subarray(0, 11), expected: undefined },
  ];
  for (const { name, file, expected } of cases)
    it(name, () => assert.equal(findMultiboot(file), expected));
});

describe('Multiboot information', () => {
  it('magic, memory, map, loader and command line', () => {
    const { plan, info, word, text } = booted(bootInput(kernel, { kernelName: 'k.elf' }));
    assert.equal(plan.state.regs?.[0], 0x2badb002n);
    assert.equal(word(info), 0b10_0100_0101);
    assert.equal(word(info + 4), 639);
    assert.equal(word(info + 8), 63 * 1024);
    assert.equal(text(word(info + 16)), 'k.elf console=ttyS0');
    assert.equal(text(word(info + 64)), 'ring0');
    const map = word(info + 48);
    assert.equal(word(info + 44), 4 * 24);
    assert.deepEqual([word(map), word(map + 4), word(map + 20)], [20, 0, 1]);
    assert.deepEqual([word(map + 76), word(map + 84)], [MIB, 63 * MIB]);
  });

  it('an initrd, then the modules, each on a page of its own behind the zeros of the kernel', () => {
    const module = (byte: number, length: number) => new Uint8Array(length).fill(byte);
    const modules = [
      { bytes: module(2, 4097), cmdline: 'two x' },
      { bytes: module(3, 1), cmdline: '' },
    ];
    const { info, word, text, memory } = booted(
      bootInput(kernel, { initrd: module(1, 10), modules }),
    );
    assert.equal(word(info) & 8, 8);
    assert.equal(word(info + 20), 3);
    const list = word(info + 24);
    const found = [0, 1, 2].map((i) => {
      const [from, to, name] = [0, 4, 8].map((field) => word(list + i * 16 + field));
      return [from, to, text(name ?? 0), memory[from ?? 0]];
    });
    assert.deepEqual(found, [
      [MIB + 0x1000, MIB + 0x100a, '', 1],
      [MIB + 0x2000, MIB + 0x3001, 'two x', 2],
      [MIB + 0x4000, MIB + 0x4001, '', 3],
    ]);
  });

  it('address fields: part of the file, and zeros behind it', () => {
    const header = multibootHeader(ADDRESSES, [MIB + 4, MIB, MIB + 40, MIB + 8192, MIB + 36]);
    const file = new Uint8Array(100).fill(9);
    file.set(header, 8);
    const { plan, memory } = booted(bootInput(file));
    assert.equal(plan.state.rip, BigInt(MIB + 36));
    assert.equal(memory[MIB], 9);
    assert.equal(memory[MIB + 39], 9);
    assert.equal(memory[MIB + 40], 0);
  });

  it('a 64-bit ELF file is entered in 32-bit mode too', () => {
    const file = makeElf64(BigInt(MIB), [{ paddr: MIB, bytes: multibootHeader(0) }]);
    const { plan } = booted(bootInput(file));
    assert.equal(plan.state.rip, BigInt(MIB));
    assert.equal(plan.state.efer, undefined);
  });
});

describe('Multiboot kernels that are refused', () => {
  const addresses = (...list: number[]) => bootInput(multibootHeader(ADDRESSES, list));
  const cases = [
    { name: 'an unknown requirement', input: bootInput(multibootHeader(8)), kind: 'unsupported' },
    {
      name: 'neither ELF nor addresses',
      input: bootInput(multibootHeader(0)),
      kind: 'unsupported',
    },
    { name: 'address fields cut off', input: addresses(MIB, MIB), kind: 'truncated' },
    {
      name: 'load behind the header',
      input: addresses(MIB, MIB + 1, 0, 0, 0),
      kind: 'unsupported',
    },
    { name: 'load before the file', input: addresses(MIB, 0, 0, 0, 0), kind: 'unsupported' },
    { name: 'an end before the load', input: addresses(MIB, MIB, 1, 0, 0), kind: 'unsupported' },
    { name: 'more than the file', input: addresses(MIB, MIB, MIB + 99, 0, 0), kind: 'truncated' },
    { name: 'zeros past memory', input: addresses(MIB, MIB, 0, 65 * MIB, 0), kind: 'too-large' },
    {
      name: 'an entry past 4 GiB',
      input: bootInput(makeElf64(2n ** 40n, [{ paddr: MIB, bytes: multibootHeader(0) }])),
      kind: 'unsupported',
    },
    {
      name: 'modules larger than memory',
      input: bootInput(kernel, { modules: [{ bytes: new Uint8Array(64 * MIB), cmdline: '' }] }),
      kind: 'too-large',
    },
  ];
  for (const { name, input, kind } of cases) {
    it(name, () => {
      assert.throws(
        () => planBoot(input),
        (error) => error instanceof BootError && error.kind === kind,
      );
    });
  }
});
