import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BootError } from './boot-error.ts';
import { planFirmware } from './firmware.ts';

const KIB = 1024;

function image(bytes: number): Uint8Array {
  const rom = new Uint8Array(bytes);
  rom.set([0xea], bytes - 16);
  return rom;
}

describe('planFirmware', () => {
  const cases = [
    { size: 4 * KIB, rom: 0xffff_f000, low: 0xff000 },
    { size: 64 * KIB, rom: 0xffff_0000, low: 0xf0000 },
    { size: 128 * KIB, rom: 0xfffe_0000, low: 0xe0000 },
    { size: 256 * KIB, rom: 0xfffc_0000, low: 0xe0000 },
    { size: 16 * KIB * KIB, rom: 0xff00_0000, low: 0xe0000 },
  ];
  for (const { size, rom, low } of cases) {
    it(`${size / KIB} KiB: ends at 4 GiB, and its end at 1 MiB`, () => {
      const plan = planFirmware(image(size));
      assert.equal(plan.rom.paddr, rom);
      assert.equal(plan.rom.bytes.length, size);
      assert.equal(plan.low.paddr, low);
      assert.equal(plan.low.bytes[0xffff0 - low], 0xea);
    });
  }

  const wrong = [
    { name: 'nothing', size: 0, kind: 'truncated' },
    { name: 'not whole pages', size: 65535, kind: 'truncated' },
    { name: 'more than 16 MiB', size: 16 * KIB * KIB + 4096, kind: 'too-large' },
  ];
  for (const { name, size, kind } of wrong) {
    it(`refuses ${name}`, () => {
      assert.throws(
        () => planFirmware(new Uint8Array(size)),
        (error) => error instanceof BootError && error.kind === kind,
      );
    });
  }
});
