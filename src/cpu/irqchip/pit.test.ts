import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { newDeviceState } from '#hw/state.ts';
import { ManualClock, RecordedLine } from '#hw/testing.ts';
import { PIT_STATE, Pit } from './pit.ts';
import { PIT_HZ } from './pit-channel.ts';

const OUT2 = 0x20;

function rig() {
  const clock = new ManualClock();
  const irq = new RecordedLine();
  const pit = new Pit(newDeviceState(PIT_STATE), clock, irq);
  pit.reset();
  /** To the middle of the tick, so that rounding has no say. */
  const at = (ticks: number) => {
    clock.ns = ((ticks + 0.5) * 1e9) / PIT_HZ;
  };
  const program = (channel: number, control: number, count: number) => {
    pit.writePort(0x43, (channel << 6) | control);
    pit.writePort(0x40 + channel, count & 0xff);
    pit.writePort(0x40 + channel, count >> 8);
  };
  const count = (channel: number) => {
    pit.writePort(0x43, channel << 6);
    return pit.readPort(0x40 + channel) | (pit.readPort(0x40 + channel) << 8);
  };
  const status = (channel: number) => {
    pit.writePort(0x43, 0xe0 | (2 << channel));
    return pit.readPort(0x40 + channel);
  };
  const run = (ns: number) => {
    for (;;) {
      clock.ns = Math.min(ns, pit.nextDeadlineNs());
      pit.advance(clock.ns);
      if (clock.ns >= ns) return irq.rises;
    }
  };
  return { clock, irq, pit, at, program, count, status, run };
}

describe('8254', () => {
  const counts = [
    {
      name: 'mode 0 wraps',
      control: 0x30,
      initial: 100,
      ticks: 101,
      expected: 0xffff,
      out: true,
    },
    {
      name: 'mode 0 before the end',
      control: 0x30,
      initial: 100,
      ticks: 40,
      expected: 60,
      out: false,
    },
    {
      name: 'mode 2 reloads',
      control: 0x34,
      initial: 100,
      ticks: 230,
      expected: 70,
      out: true,
    },
    {
      name: 'mode 2 low in the last tick',
      control: 0x34,
      initial: 100,
      ticks: 199,
      expected: 1,
      out: false,
    },
    {
      name: 'mode 3 counts by two',
      control: 0x36,
      initial: 100,
      ticks: 10,
      expected: 80,
      out: true,
    },
    {
      name: 'mode 3 second half',
      control: 0x36,
      initial: 100,
      ticks: 60,
      expected: 80,
      out: false,
    },
    {
      name: 'mode 3 odd',
      control: 0x36,
      initial: 5,
      ticks: 3,
      expected: 4,
      out: false,
    },
    {
      name: 'mode 4 strobe',
      control: 0x38,
      initial: 100,
      ticks: 100,
      expected: 0,
      out: false,
    },
    {
      name: 'mode 4 after',
      control: 0x38,
      initial: 100,
      ticks: 101,
      expected: 0xffff,
      out: true,
    },
    {
      name: '0 is 65536',
      control: 0x34,
      initial: 0,
      ticks: 1,
      expected: 0xffff,
      out: true,
    },
    {
      name: 'BCD',
      control: 0x31,
      initial: 0x1000,
      ticks: 1,
      expected: 0x0999,
      out: false,
    },
    {
      name: 'BCD, 0 is 10000',
      control: 0x35,
      initial: 0,
      ticks: 1,
      expected: 0x9999,
      out: true,
    },
  ];
  for (const { name, control, initial, ticks, expected, out } of counts)
    it(name, () => {
      const { program, at, count, status } = rig();
      program(0, control, initial);
      at(ticks);
      assert.equal(count(0), expected);
      assert.equal((status(0) & 0x80) !== 0, out, 'OUT');
    });

  const interrupts = [
    { name: 'mode 2 at 100 Hz', control: 0x34, initial: 11932, expected: 100 },
    { name: 'mode 3 at 100 Hz', control: 0x36, initial: 11932, expected: 100 },
    { name: 'mode 0 once', control: 0x30, initial: 11932, expected: 1 },
    { name: 'mode 4 once', control: 0x38, initial: 11932, expected: 1 },
    {
      name: 'mode 1 never: the gate does not rise',
      control: 0x32,
      initial: 11932,
      expected: 0,
    },
  ];
  for (const { name, control, initial, expected } of interrupts)
    it(`interrupts: ${name}`, () => {
      const { program, run } = rig();
      program(0, control, initial);
      assert.equal(run(1_000_020_000), expected);
    });

  it('a control word alone stops channel 0', () => {
    const { pit, program } = rig();
    program(0, 0x34, 1000);
    pit.writePort(0x43, 0x30);
    assert.equal(pit.nextDeadlineNs(), Number.POSITIVE_INFINITY);
  });

  it('missed ticks come as one', () => {
    const { clock, pit, irq, program } = rig();
    program(0, 0x34, 1193);
    clock.ns = 10_500_000;
    pit.advance(clock.ns);
    assert.equal(irq.rises, 1);
    assert.ok(pit.nextDeadlineNs() > clock.ns && pit.nextDeadlineNs() < clock.ns + 1_000_000);
  });

  it('a latched count stays until it is read, and a second latch is ignored', () => {
    const { pit, program, at } = rig();
    program(0, 0x34, 0x1234);
    pit.writePort(0x43, 0);
    at(100);
    pit.writePort(0x43, 0);
    assert.equal(pit.readPort(0x40), 0x34);
    assert.equal(pit.readPort(0x40), 0x12);
    assert.equal(pit.readPort(0x40), (0x1234 - 100) & 0xff);
  });

  it('read-back gives status first, then the count; null count until one is written', () => {
    const { pit, status } = rig();
    pit.writePort(0x43, 0x34);
    assert.equal(status(0), 0xf4);
    pit.writePort(0x40, 0x34);
    pit.writePort(0x40, 0x12);
    pit.writePort(0x43, 0xc2);
    assert.deepEqual(
      [pit.readPort(0x40), pit.readPort(0x40), pit.readPort(0x40)],
      [0xb4, 0x34, 0x12],
    );
  });

  it('single-byte access modes', () => {
    const { pit, at } = rig();
    pit.writePort(0x43, 0x94); // channel 2, low byte, mode 2
    pit.writePort(0x61, 1);
    pit.writePort(0x42, 100);
    at(30);
    assert.deepEqual([pit.readPort(0x42), pit.readPort(0x42)], [70, 70]);
  });

  it('channel 2 as Linux calibrates the TSC with it: OUT2 after 50 ms', () => {
    const { clock, pit, program } = rig();
    pit.writePort(0x61, (pit.readPort(0x61) & ~2) | 1);
    program(2, 0x30, 59659);
    clock.ns = 49_990_000;
    assert.equal(pit.readPort(0x61) & OUT2, 0);
    clock.ns = 50_010_000;
    assert.equal(pit.readPort(0x61) & OUT2, OUT2);
  });

  it('channel 2 counts only while its gate is high', () => {
    const { pit, program, at, count } = rig();
    program(2, 0x30, 1000);
    at(100);
    assert.equal(count(2), 1000);
    pit.writePort(0x61, 1);
    at(150);
    pit.writePort(0x61, 0);
    at(500);
    assert.equal(count(2), 950);
  });

  it('mode 1 is triggered by the gate', () => {
    const { pit, program, at } = rig();
    program(2, 0x32, 1000);
    assert.equal(pit.readPort(0x61) & OUT2, OUT2);
    pit.writePort(0x61, 1);
    assert.equal(pit.readPort(0x61) & OUT2, 0);
    at(1001);
    assert.equal(pit.readPort(0x61) & OUT2, OUT2);
  });

  it('the refresh bit toggles', () => {
    const { clock, pit } = rig();
    const first = pit.readPort(0x61) & 0x10;
    clock.ns += 15_100;
    assert.notEqual(pit.readPort(0x61) & 0x10, first);
  });
});
