import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { GIB, MIB } from '#base/units.ts';
import { cmosMemory } from './cmos-memory.ts';

describe('memory sizes in CMOS', () => {
  const cases = [
    { name: 'below 16 MiB', bytes: 8 * MIB, extended: 7 * 1024, beyond: 0 },
    { name: '256 MiB', bytes: 256 * MIB, extended: 0xffff, beyond: 240 * 16 },
    { name: '3.5 GiB', bytes: 3.5 * GIB, extended: 0xffff, beyond: 3568 * 16 },
  ];
  for (const { name, bytes, extended, beyond } of cases) {
    it(name, () => {
      const cmos = new Map(cmosMemory(bytes));
      const word = (index: number) => (cmos.get(index) ?? 0) | ((cmos.get(index + 1) ?? 0) << 8);
      const words = [0x15, 0x17, 0x30, 0x34].map(word);
      assert.deepEqual(words, [640, extended, extended, beyond]);
    });
  }
});
