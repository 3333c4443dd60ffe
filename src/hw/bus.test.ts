import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PortBus } from './bus.ts';
import type { PortDevice } from './device.ts';

const device = (value: number): PortDevice => ({
  reset: () => {},
  readPort: (offset) => value + offset,
  writePort: () => {},
});

describe('ports', () => {
  const low = device(0x10);
  const high = device(0x20);
  const bus = new PortBus({ guestBug: () => {} });
  bus.map(0x60, 4, low, 'low');
  bus.map(0x62, 4, high, 'high');
  bus.map(0xfffe, 2, device(0x30), 'last');

  const rows = [
    { name: 'of a device', port: 0x61, expected: 0x11, owner: 'low' },
    { name: 'of the first where two overlap', port: 0x63, expected: 0x13, owner: 'low' },
    { name: 'of the second behind that', port: 0x65, expected: 0x23, owner: 'high' },
    { name: 'at the end', port: 0xffff, expected: 0x31, owner: 'last' },
    { name: 'of none', port: 0x66, expected: 0xff, owner: 'nothing' },
  ];
  for (const { name, port, expected, owner } of rows)
    it(name, () => {
      assert.equal(bus.read(port, 1), expected);
      assert.equal(bus.nameAt(port), owner);
    });

  it('go to the next device when theirs is taken away', () => {
    bus.unmap(low);
    assert.deepEqual(
      [bus.read(0x61, 1), bus.read(0x63, 1), bus.read(0xffff, 1)],
      [0xff, 0x21, 0x31],
    );
  });
});
