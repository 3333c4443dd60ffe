import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { newDeviceState } from '#hw/state.ts';
import { PIC_STATE, Pic } from './pic.ts';

function initialized(icw4 = 0x01): { pic: Pic; intr: () => boolean } {
  let level = false;
  const pic = new Pic(newDeviceState(PIC_STATE), (high) => {
    level = high;
  });
  pic.reset();
  for (const [port, base, cascade] of [
    [0x20, 0x30, 4],
    [0xa0, 0x38, 2],
  ] as const) {
    pic.writePort(port, 0x11);
    pic.writePort(port + 1, base);
    pic.writePort(port + 1, cascade);
    pic.writePort(port + 1, icw4);
    pic.writePort(port + 1, 0);
  }
  return { pic, intr: () => level };
}

function pulse(pic: Pic, irq: number): void {
  pic.setInput(irq, true);
  pic.setInput(irq, false);
}

/** ISR of master and slave. */
function inService(pic: Pic): [number, number] {
  pic.writePort(0x20, 0x0b);
  pic.writePort(0xa0, 0x0b);
  return [pic.readPort(0x20), pic.readPort(0xa0)];
}

describe('8259A pair', () => {
  const vectors = [
    { name: 'an input of the master', irqs: [4], expected: [0x34] },
    { name: 'an input of the slave', irqs: [12], expected: [0x3c] },
    {
      name: 'higher before lower, and the slave in place of input 2',
      irqs: [7, 8, 3, 0],
      expected: [0x30],
    },
    { name: 'the slave goes before input 3', irqs: [3, 15], expected: [0x3f] },
    { name: 'nothing: spurious', irqs: [], expected: [0x37] },
  ];
  for (const { name, irqs, expected } of vectors)
    it(name, () => {
      const { pic } = initialized();
      for (const irq of irqs) pulse(pic, irq);
      assert.deepEqual([pic.acknowledge()], expected);
    });

  it('reads back the mask, as the probe of Linux does', () => {
    const { pic } = initialized();
    pic.writePort(0x21, 0xfb);
    assert.equal(pic.readPort(0x21), 0xfb);
  });

  it('holds lower interrupts back until EOI', () => {
    const { pic, intr } = initialized();
    pulse(pic, 3);
    assert.equal(pic.acknowledge(), 0x33);
    pulse(pic, 5);
    assert.equal(intr(), false);
    pulse(pic, 1);
    assert.equal(intr(), true);
    assert.equal(pic.acknowledge(), 0x31);
    pic.writePort(0x20, 0x20);
    assert.equal(intr(), false, 'input 3 is in service still');
    pic.writePort(0x20, 0x63);
    assert.equal(pic.acknowledge(), 0x35);
  });

  it('a slave interrupt is in service in both, and comes again while its level lasts', () => {
    const { pic } = initialized();
    pic.writePort(0x4d1, 0x02);
    pic.setInput(9, true);
    assert.equal(pic.acknowledge(), 0x39);
    assert.deepEqual(inService(pic), [0x04, 0x02]);
    pic.writePort(0xa0, 0x20);
    pic.writePort(0x20, 0x20);
    assert.equal(pic.acknowledge(), 0x39, 'the level is still there');
    pic.setInput(9, false);
    assert.deepEqual(inService(pic), [0x04, 0x02]);
  });

  it('level mode follows the line, edge mode remembers', () => {
    const { pic, intr } = initialized();
    pic.writePort(0x4d0, 0xff);
    assert.equal(pic.readPort(0x4d0), 0xf8, 'inputs 0 to 2 stay edge-triggered');
    pulse(pic, 5);
    assert.equal(intr(), false);
    pulse(pic, 1);
    assert.equal(intr(), true);
  });

  it('automatic EOI leaves nothing in service', () => {
    const { pic } = initialized(0x03);
    pulse(pic, 4);
    assert.equal(pic.acknowledge(), 0x34);
    assert.deepEqual(inService(pic), [0, 0]);
  });

  it('rotation makes the one served the lowest', () => {
    const { pic } = initialized();
    pulse(pic, 4);
    pic.acknowledge();
    pic.writePort(0x20, 0xa0);
    pulse(pic, 4);
    pulse(pic, 5);
    assert.equal(pic.acknowledge(), 0x35);
  });

  it('special mask mode lets lower inputs pass a masked one in service', () => {
    const { pic, intr } = initialized();
    pulse(pic, 2 + 1);
    pic.acknowledge();
    pulse(pic, 6);
    assert.equal(intr(), false);
    pic.writePort(0x21, 0x08);
    pic.writePort(0x20, 0x68);
    assert.equal(intr(), true);
  });

  it('polling acknowledges', () => {
    const { pic, intr } = initialized();
    pulse(pic, 6);
    pic.writePort(0x20, 0x0c);
    assert.equal(pic.readPort(0x20), 0x86);
    assert.equal(intr(), false);
    pic.writePort(0x20, 0x0c);
    assert.equal(pic.readPort(0x20), 0);
  });

  it('ICW1 forgets edges, and a line that stays high makes no new one', () => {
    const { pic, intr } = initialized();
    pic.setInput(4, true);
    pic.writePort(0x20, 0x11);
    for (const word of [0x30, 4, 1]) pic.writePort(0x21, word);
    assert.equal(intr(), false);
  });
});
