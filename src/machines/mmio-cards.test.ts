import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MmioBus } from '#hw/bus.ts';
import { RecordedLine } from '#hw/testing.ts';
import { MmioCards, mmioPlace } from './mmio-cards.ts';

describe('devices at addresses of the board', () => {
  const plan = { name: 'd', mmioBytes: 0x200, awaited: 0x64 };
  const log: string[] = [];
  const mmio = new MmioBus({ guestBug: (text) => void log.push(text) });
  const lines = new Map<number, RecordedLine>();
  const line = (gsi: number): RecordedLine => {
    const known = lines.get(gsi) ?? new RecordedLine();
    lines.set(gsi, known);
    return known;
  };
  const registers = {
    read: (slot: number, bar: number, offset: number, size: number) => {
      log.push(`read ${slot}.${bar}+${offset} ${size}`);
      return 7;
    },
    write: (slot: number, bar: number, offset: number, size: number, value: number) =>
      void log.push(`write ${slot}.${bar}+${offset} ${size} ${value}`),
  };
  const cards = new MmioCards(
    [2, 3, 6].map((slot) => ({ slot, plan })),
    { mmio, registers, line },
  );

  it('pass accesses on, and wait for those that end an interrupt', () => {
    const { paddr } = mmioPlace(3);
    assert.equal(mmio.read(paddr + 0x10, 4), 7);
    mmio.write(paddr + 0x50, 4, 1);
    mmio.write(paddr + 0x64, 4, 2);
    mmio.read(paddr + 0x200, 4);
    assert.deepEqual(log, [
      'read 3.0+16 4',
      'write 3.0+80 4 1',
      'write 3.0+100 4 2',
      'read 3.0+100 4',
      `read of 0x${(paddr + 0x200).toString(16)}, where nothing is`,
    ]);
  });

  it('share lines, which are high while any drives them', () => {
    assert.equal(mmioPlace(2).gsi, mmioPlace(6).gsi);
    const shared = line(mmioPlace(2).gsi);
    const levels = [1 << 2, (1 << 2) | (1 << 6), 1 << 6, 1 << 3, 0].map((level) => {
      cards.setLines(level);
      return shared.high;
    });
    assert.deepEqual(levels, [true, true, true, false, false]);
    assert.equal(line(mmioPlace(3).gsi).rises, 1);
  });
});
