import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { compactElf } from './compact-elf.ts';
import { parseElf, physicalEntry, placeSegments, segmentsEnd } from './elf.ts';
import { makeElf32, makeElf64, randomBytes, type TestSegment } from './testing.ts';

const PAGE = 4096;
const ENTRY = 0xffff_8000_0010_0010n;
const random = randomBytes(7);

/** Random bytes with zeros from `from` to `to`. */
function withZeros(length: number, ...zeros: readonly (readonly [from: number, to: number])[]) {
  const bytes = random(length).map((byte) => byte || 1);
  for (const [from, to] of zeros) bytes.fill(0, from, to);
  return bytes;
}

/** What memory holds when the program has been loaded. */
function loaded(file: Uint8Array): Uint8Array {
  const ram = new Uint8Array(4 << 20);
  for (const { paddr, bytes } of placeSegments(parseElf(file))) ram.set(bytes, paddr);
  return ram;
}

const at = (paddr: number, bytes: Uint8Array, memoryBytes = bytes.length): TestSegment => ({
  paddr,
  vaddr: BigInt(paddr) + 0xffff_8000_0000_0000n,
  bytes,
  memoryBytes,
});

const CASES: Readonly<Record<string, readonly TestSegment[]>> = {
  'no zeros': [at(0x100000, withZeros(5000))],
  'zeros in the middle': [at(0x100000, withZeros(64 * PAGE, [9 * PAGE, 40 * PAGE]))],
  'zeros first and last': [
    at(0x100000, withZeros(99 * PAGE + 7, [0, 30 * PAGE], [60 * PAGE, 99 * PAGE + 7]), 120 * PAGE),
  ],
  'nothing but zeros': [at(0x100000, new Uint8Array(50 * PAGE + 1))],
  'an empty segment': [at(0x100000, new Uint8Array(), 3 * PAGE)],
  'three segments': [
    at(0x100000, withZeros(40 * PAGE, [PAGE, 30 * PAGE])),
    at(0x180000, withZeros(100)),
    at(0x200000, withZeros(80 * PAGE, [PAGE, 20 * PAGE], [21 * PAGE, 60 * PAGE]), 90 * PAGE),
  ],
};

describe('an ELF program without its zeros', () => {
  for (const [name, segments] of Object.entries(CASES))
    it(`loads the same: ${name}`, () => {
      const file = makeElf64(ENTRY, segments);
      const compact = compactElf(file);
      assert.ok(compact !== undefined);
      assert.deepEqual(loaded(compact), loaded(file));
      const [before, after] = [parseElf(file), parseElf(compact)];
      assert.equal(segmentsEnd(after), segmentsEnd(before));
      assert.equal(physicalEntry(after), physicalEntry(before));
    });

  it('is as short as what is left', () => {
    const file = makeElf64(ENTRY, [at(0x100000, withZeros(64 * PAGE, [9 * PAGE, 40 * PAGE]))]);
    assert.equal(compactElf(file)?.length, file.length - 31 * PAGE + 56);
  });

  it('is none of a 32-bit program', () => {
    assert.equal(compactElf(makeElf32(0x100000, 0x100000, withZeros(100))), undefined);
  });

  it('is none of a program that claims more bytes than it has', () => {
    assert.throws(() => compactElf(makeElf64(ENTRY, [at(0x100000, withZeros(100), 50)])));
  });
});
