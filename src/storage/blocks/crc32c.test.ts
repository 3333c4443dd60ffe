import assert from 'node:assert/strict';
import { it } from 'node:test';
import { crc32c } from './crc32c.ts';

// RFC 3720, B.4.
const cases = [
  { name: '32 bytes of zeros', bytes: new Uint8Array(32), expected: 0x8a9136aa },
  { name: '32 bytes of ones', bytes: new Uint8Array(32).fill(0xff), expected: 0x62a8ab43 },
  { name: '0 to 31', bytes: Uint8Array.from({ length: 32 }, (_, i) => i), expected: 0x46dd794e },
];
for (const { name, bytes, expected } of cases)
  it(`CRC-32C of ${name}`, () => assert.equal(crc32c(bytes), expected));

it('CRC-32C leaves its own place out', () => {
  const bytes = new Uint8Array(32).fill(7, 4, 8);
  assert.equal(crc32c(bytes, 4), 0x8a9136aa);
});
