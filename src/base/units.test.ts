import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { formatExactSize, formatSize, GIB, KIB, MIB, parseDuration, parseSize } from './units.ts';

describe('parseSize', () => {
  const cases: { text: string; expected: number | undefined }[] = [
    { text: '256M', expected: 256 * MIB },
    { text: '256m', expected: 256 * MIB },
    { text: '256MB', expected: 256 * MIB },
    { text: '256 MiB', expected: 256 * MIB },
    { text: '1.5G', expected: 1536 * MIB },
    { text: '64k', expected: 64 * KIB },
    { text: '100b', expected: 100 },
    { text: '2T', expected: 2048 * GIB },
    { text: '0', expected: 0 },
    { text: '4096', expected: 4096 },
    { text: '0.3', expected: undefined },
    { text: '', expected: undefined },
    { text: 'M', expected: undefined },
    { text: '-1M', expected: undefined },
    { text: '0x100', expected: undefined },
    { text: '256X', expected: undefined },
    { text: '256Mi', expected: undefined },
    { text: '1e9', expected: undefined },
    { text: '99999999999999999999G', expected: undefined },
  ];
  for (const { text, expected } of cases)
    it(`'${text}' is ${expected ?? 'no size'}`, () => assert.equal(parseSize(text), expected));

  it('takes a bare number in the unit asked for', () => {
    assert.equal(parseSize('256', 'M'), 256 * MIB);
    assert.equal(parseSize('256B', 'M'), 256);
  });
});

describe('formatExactSize', () => {
  const cases = [
    { bytes: 3585 * MIB, expected: '3585 MiB' },
    { bytes: 3.5 * GIB, expected: '3.5 GiB' },
    { bytes: 2 * MIB - 1, expected: '2097151 bytes' },
    { bytes: -1, expected: '-1 bytes' },
  ];
  for (const { bytes, expected } of cases)
    it(expected, () => assert.equal(formatExactSize(bytes), expected));
});

describe('formatSize', () => {
  const cases = [
    { bytes: 0, expected: '0 bytes' },
    { bytes: 1023, expected: '1023 bytes' },
    { bytes: 1536, expected: '1.5 KiB' },
    { bytes: 256 * MIB, expected: '256 MiB' },
    { bytes: 3.5 * GIB, expected: '3.5 GiB' },
  ];
  for (const { bytes, expected } of cases)
    it(expected, () => assert.equal(formatSize(bytes), expected));
});

describe('parseDuration', () => {
  const cases: { text: string; expected: number | undefined }[] = [
    { text: '30', expected: 30_000 },
    { text: '0.5', expected: 500 },
    { text: '500ms', expected: 500 },
    { text: '2m', expected: 120_000 },
    { text: '1h', expected: 3_600_000 },
    { text: '-1', expected: undefined },
    { text: 'soon', expected: undefined },
    { text: 'Infinity', expected: undefined },
  ];
  for (const { text, expected } of cases)
    it(`'${text}' is ${expected ?? 'no time'}`, () => assert.equal(parseDuration(text), expected));
});
