import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { LZ4_LEGACY_MAGIC, unpackLz4 } from './lz4.ts';
import { randomBytes } from './testing.ts';

const LZ4 = new WebAssembly.Module(
  readFileSync(new URL('../../../build/lz4.wasm', import.meta.url)),
);
const MIB = 1 << 20;

interface Sequence {
  readonly literals: Uint8Array;
  readonly distance: number;
  readonly match: number;
}

const more = (length: number): number[] =>
  length < 15
    ? []
    : [...Array<number>(Math.floor((length - 15) / 255)).fill(255), (length - 15) % 255];

/** A block as lz4_Block_format.md has it, and what it unpacks to, copied byte by byte. */
function makeBlock(sequences: readonly Sequence[]): { packed: number[]; unpacked: number[] } {
  const packed: number[] = [];
  const unpacked: number[] = [];
  for (const { literals, distance, match } of sequences) {
    const count = literals.length;
    packed.push((Math.min(15, count) << 4) | Math.min(15, Math.max(0, match - 4)));
    packed.push(...more(count), ...literals);
    unpacked.push(...literals);
    if (match === 0) continue;
    packed.push(distance & 0xff, distance >> 8, ...more(match - 4));
    for (let i = 0; i < match; i++) unpacked.push(unpacked[unpacked.length - distance] ?? 0);
  }
  return { packed, unpacked };
}

function frame(...blocks: readonly (readonly number[])[]): Uint8Array {
  const bytes = (word: number) => [0, 8, 16, 24].map((shift) => (word >>> shift) & 0xff);
  const parts = blocks.flatMap((block) => [...bytes(block.length), ...block]);
  return Uint8Array.from([...bytes(LZ4_LEGACY_MAGIC), ...parts]);
}

/** Sequences of all lengths at which copies change their way. */
function someSequences(seed: number): Sequence[] {
  const random = randomBytes(seed);
  const pick = (values: readonly number[]) => values[(random(1)[0] ?? 0) % values.length] ?? 0;
  let have = 0;
  const sequences: Sequence[] = Array.from({ length: 40 }, () => {
    const literals = random(pick([0, 1, 3, 14, 15, 16, 17, 32, 33, 269, 270, 271, 600]));
    have += literals.length;
    const match = have === 0 ? 0 : pick([4, 5, 15, 16, 17, 18, 19, 20, 33, 273, 274, 275, 700]);
    const distance = Math.min(have, pick([1, 2, 3, 7, 8, 15, 16, 17, 31, 255, 256, 4000]));
    have += match;
    return { literals, distance, match };
  });
  const first = sequences.findIndex(({ match }) => match > 0);
  return [...sequences.slice(first), { literals: random(9), distance: 0, match: 0 }];
}

describe('LZ4', () => {
  it('copies what the format says, in blocks that do not know each other', () => {
    for (let seed = 1; seed <= 100; seed++) {
      const a = makeBlock(someSequences(seed));
      const b = makeBlock(someSequences(seed + 1000));
      const unpacked = unpackLz4(frame(a.packed, b.packed), MIB, LZ4);
      assert.deepEqual([...unpacked], [...a.unpacked, ...b.unpacked], `seed ${seed}`);
    }
  });

  const bad: readonly [string, readonly number[], RegExp][] = [
    ['a length without end', [0xf0, 255, 255], /a length runs past/],
    ['literals that are missing', [0x50, 1, 2], /literals run past/],
    ['half an offset', [0x10, 1, 2], /offset is cut short/],
    ['a match before the block', [0x10, 1, 2, 0], /reaches before its block/],
    ['a match at distance 0', [0x10, 1, 0, 0], /reaches before its block/],
    [
      'a match that is a bomb',
      [0x1f, 1, 1, 0, ...Array<number>(40_000).fill(255), 0],
      /larger than/,
    ],
  ];
  for (const [name, block, message] of bad)
    it(`${name} is refused, also behind a good block`, () => {
      const good = makeBlock(someSequences(7)).packed;
      for (const packed of [frame(block), frame(good, block)])
        assert.throws(() => unpackLz4(packed, 64 * MIB, LZ4), message);
    });

  it('more than the limit is refused', () => {
    const { packed, unpacked } = makeBlock(someSequences(3));
    const both = frame(packed, packed);
    assert.equal(unpackLz4(both, 2 * unpacked.length, LZ4).length, 2 * unpacked.length);
    for (const limit of [0, unpacked.length - 1, unpacked.length, 2 * unpacked.length - 1])
      assert.throws(() => unpackLz4(both, limit, LZ4), { name: 'BootError', kind: 'too-large' });
  });

  it('noise ends in an error or in bytes', () => {
    const random = randomBytes(5);
    const { packed } = makeBlock(someSequences(11));
    for (let round = 0; round < 2000; round++) {
      const damaged = frame(packed);
      damaged.set(random(4), 8 + (round % (packed.length - 4)));
      try {
        assert.ok(unpackLz4(damaged, MIB, LZ4).length <= MIB);
      } catch (error) {
        assert.equal((error as Error).name, 'BootError');
      }
    }
  });
});
