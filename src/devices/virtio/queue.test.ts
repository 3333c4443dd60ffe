import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Segment } from '#hw/guest-memory.ts';
import { randomNumbers, TestMemory } from '#hw/testing.ts';
import { F_EVENT_INDEX, F_INDIRECT, F_PACKED, VirtQueue } from './queue.ts';
import { PackedDriver, SplitDriver } from './testing.ts';

const SIZE = 8;
const DATA = 0x8_0000;
const segment = (index: number, lengthBytes = 512) => ({
  paddr: DATA + index * 0x1000,
  lengthBytes,
});
const place = ({ paddr, lengthBytes }: Segment): Segment => ({ paddr, lengthBytes });
const REQUEST = { readable: [segment(0, 16), segment(1)], writable: [segment(2, 1)] };

function rig(isPacked: boolean, features = F_INDIRECT) {
  const memory = new TestMemory(1 << 20);
  const driver = isPacked ? new PackedDriver(memory, SIZE) : new SplitDriver(memory, SIZE);
  const seen = { interrupts: 0, broken: [] as string[] };
  const queue = VirtQueue.at({
    memory,
    place: driver.place,
    features: features | (isPacked ? F_PACKED : 0n),
    interrupt: () => seen.interrupts++,
    broken: (why) => seen.broken.push(why),
  });
  assert.ok(queue);
  return { memory, driver, queue, seen };
}

for (const isPacked of [false, true])
  describe(`a ${isPacked ? 'packed' : 'split'} virtqueue`, () => {
    for (const indirect of [false, true])
      it(`gives chains in order and takes them back in any, ${indirect ? 'in' : ''}direct`, () => {
        const { driver, queue, seen } = rig(isPacked);
        assert.equal(queue.pop(), undefined);
        for (let turn = 0; turn < 40; turn++) {
          const ids = [driver.add(REQUEST, indirect), driver.add(REQUEST, indirect)];
          const chains = [queue.pop(), queue.pop()];
          assert.equal(queue.pop(), undefined);
          for (const [i, chain] of chains.entries()) {
            assert.equal(chain?.id, ids[i]);
            assert.deepEqual(chain?.readable.map(place), REQUEST.readable);
            assert.deepEqual(chain?.writable.map(place), REQUEST.writable);
          }
          for (const chain of chains.reverse()) if (chain) queue.push(chain, 70_000 + turn);
          for (const id of ids.reverse())
            assert.deepEqual(driver.used(), { id, writtenBytes: 70_000 + turn });
          assert.equal(driver.used(), undefined);
        }
        assert.equal(seen.interrupts, 80);
        assert.deepEqual(seen.broken, []);
      });

    it('does not interrupt a driver that looks by itself', () => {
      const { driver, queue, seen } = rig(isPacked);
      driver.noInterrupts();
      driver.add(REQUEST);
      const chain = queue.pop();
      if (chain) queue.push(chain, 1);
      assert.deepEqual([seen.interrupts, driver.used()?.writtenBytes], [0, 1]);
    });

    it('breaks on a table in a table, and then is silent', () => {
      const { memory, driver, queue, seen } = rig(isPacked);
      driver.add(REQUEST, true);
      memory.view.setUint16(0x3_0000 + (isPacked ? 14 : 12), 4, true);
      assert.equal(queue.pop(), undefined);
      assert.equal(queue.pop(), undefined);
      assert.deepEqual(seen.broken, ['an indirect descriptor in an indirect table']);
    });

    it('breaks on a readable buffer behind a writable one', () => {
      const { memory, driver, queue, seen } = rig(isPacked);
      driver.add(REQUEST);
      const flags = 0x1_0000 + (isPacked ? 14 : 12);
      memory.view.setUint16(flags, memory.view.getUint16(flags, true) | 2, true);
      assert.equal(queue.pop(), undefined);
      assert.deepEqual(seen.broken, ['a readable buffer behind a writable one']);
    });

    it('takes no indirect descriptors that were not agreed on', () => {
      const { driver, queue, seen } = rig(isPacked, 0n);
      driver.add(REQUEST, true);
      assert.equal(queue.pop(), undefined);
      assert.deepEqual(seen.broken, ['an indirect descriptor, which was not agreed on']);
    });

    for (const part of ['descPaddr', 'driverPaddr', 'devicePaddr'] as const)
      it(`is none with its ${part} outside RAM`, () => {
        const { memory, driver } = rig(isPacked);
        const place = { ...driver.place, [part]: memory.ram.length - 2 };
        const features = isPacked ? F_PACKED : 0n;
        const options = { memory, place, features, interrupt: () => {}, broken: () => {} };
        assert.equal(VirtQueue.at(options), undefined);
      });

    it('survives rings of random bytes, and ends', () => {
      for (let seed = 1; seed <= 300; seed++) {
        const { memory, queue, seen } = rig(isPacked);
        const random = randomNumbers(seed);
        for (let i = 0; i < 0x200; i++) memory.ram[0x1_0000 + random(0x100)] = random(256);
        for (let i = 0; i < 0x20; i++)
          memory.ram[0x1_8000 + random(0x20)] = random(random(2) ? 9 : 256);
        for (let turn = 0; turn < 3 * SIZE && seen.broken.length === 0; turn++) {
          const chain = queue.pop();
          if (chain !== undefined) queue.push(chain, random(1000));
        }
      }
    });
  });

describe('a split virtqueue of a hostile driver', () => {
  it('breaks on a chain that leads back to itself', () => {
    const { memory, driver, queue, seen } = rig(false);
    driver.add({ readable: [segment(0), segment(1)], writable: [] });
    memory.view.setUint16(0x1_0000 + 16 + 12, 1, true);
    memory.view.setUint16(0x1_0000 + 16 + 14, 0, true);
    assert.equal(queue.pop(), undefined);
    assert.deepEqual(seen.broken, ['too many descriptors in a chain']);
  });

  it('breaks on more chains than it has room for', () => {
    const { memory, queue, seen } = rig(false);
    memory.view.setUint16(0x1_8000 + 2, 9, true);
    assert.equal(queue.pop(), undefined);
    assert.deepEqual(seen.broken, ['9 chains in a queue of 8']);
  });
});

describe('a driver that does not wait for its chains', () => {
  it('breaks the queue when the device would hold more than it has entries', () => {
    const memory = new TestMemory(1 << 20);
    const driver = new SplitDriver(memory, 4);
    let why = '';
    const queue = VirtQueue.at({
      memory,
      features: 0n,
      place: driver.place,
      interrupt: () => {},
      broken: (reason) => {
        why = reason;
      },
    });
    const buffer = { readable: [{ paddr: 0, lengthBytes: 1 }], writable: [] };
    for (let i = 0; i < 4; i++) {
      driver.add(buffer);
      assert.ok(queue?.pop());
    }
    driver.add(buffer);
    assert.equal(queue?.pop(), undefined);
    assert.equal(why, 'more chains than entries');
  });
});

describe('the event index', () => {
  it('interrupts when the used index passes it, and asks for the next notification', () => {
    const { memory, driver, queue, seen } = rig(false, F_EVENT_INDEX);
    assert.ok(driver instanceof SplitDriver);
    driver.interruptAfter(2);
    const counts: number[] = [];
    for (let i = 0; i < 4; i++) {
      driver.add(REQUEST);
      const chain = queue.pop();
      if (chain) queue.push(chain, 1);
      counts.push(seen.interrupts);
    }
    assert.deepEqual(counts, [0, 0, 1, 1]);
    assert.equal(queue.pop(), undefined);
    assert.equal(memory.view.getUint16(0x2_0000 + 4 + 8 * SIZE, true), 4);
  });
});
