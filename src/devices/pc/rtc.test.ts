import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { newDeviceState } from '#hw/state.ts';
import { ManualClock, RecordedLine } from '#hw/testing.ts';
import { RTC_STATE, Rtc } from './rtc.ts';
import * as r from './rtc-regs.ts';

const SECOND = 1_000_000_000;

/** Powered on at 2026-11-21 23:59:58 UTC, a Saturday. */
function rig() {
  const clock = new ManualClock();
  clock.wallAtZeroMs = Date.UTC(2026, 10, 21, 23, 59, 58);
  const irq = new RecordedLine();
  const rtc = new Rtc(newDeviceState(RTC_STATE), clock, irq);
  rtc.reset();
  const read = (register: number) => {
    rtc.writePort(0, 1, register);
    return rtc.readPort(1, 1);
  };
  const write = (register: number, value: number) => {
    rtc.writePort(0, 1, register);
    rtc.writePort(1, 1, value);
  };
  /** Year to second, and the day of the week. */
  const time = () =>
    [r.CENTURY, r.YEAR, r.MONTH, r.DAY, r.HOURS, r.MINUTES, r.SECONDS, r.WEEKDAY].map(read);
  const run = (ns: number) => {
    for (;;) {
      clock.ns = Math.min(ns, rtc.nextDeadlineNs());
      rtc.advance(clock.ns);
      if (clock.ns >= ns) return;
      read(r.REG_C);
    }
  };
  return { clock, irq, rtc, read, write, time, run };
}

describe('MC146818', () => {
  const formats = [
    {
      name: 'BCD, 24 hours',
      b: 0x02,
      expected: [0x20, 0x26, 0x11, 0x21, 0x23, 0x59, 0x58, 7],
    },
    {
      name: 'binary, 24 hours',
      b: 0x06,
      expected: [20, 26, 11, 21, 23, 59, 58, 7],
    },
    {
      name: 'BCD, 12 hours',
      b: 0x00,
      expected: [0x20, 0x26, 0x11, 0x21, 0x91, 0x59, 0x58, 7],
    },
    {
      name: 'binary, 12 hours',
      b: 0x04,
      expected: [20, 26, 11, 21, 0x8b, 59, 58, 7],
    },
  ];
  for (const { name, b, expected } of formats)
    it(name, () => {
      const { write, time } = rig();
      write(r.REG_B, b);
      assert.deepEqual(time(), expected);
    });

  it('goes over midnight', () => {
    const { clock, time } = rig();
    clock.ns = 2 * SECOND;
    assert.deepEqual(time(), [0x20, 0x26, 0x11, 0x22, 0, 0, 0, 1]);
  });

  it('takes a time under SET and goes on from it', () => {
    const { clock, write, time } = rig();
    write(r.REG_B, 0x82);
    clock.ns = 5 * SECOND;
    for (const [register, value] of [
      [r.CENTURY, 0x19],
      [r.YEAR, 0x99],
      [r.MONTH, 0x12],
      [r.DAY, 0x31],
      [r.HOURS, 0x23],
      [r.MINUTES, 0x59],
      [r.SECONDS, 0x59],
    ] as const)
      write(register, value);
    clock.ns = 9 * SECOND;
    assert.equal(time()[6], 0x59, 'stopped');
    write(r.REG_B, 0x02);
    clock.ns += SECOND;
    assert.deepEqual(time(), [0x20, 0, 0x01, 0x01, 0, 0, 0, 7]);
  });

  it('survives a reset with its time, and loses its enables', () => {
    const { clock, rtc, read, write, time } = rig();
    write(r.YEAR, 0x30);
    write(r.REG_B, 0x72);
    clock.ns = SECOND;
    rtc.reset();
    assert.equal(time()[1], 0x30);
    assert.equal(read(r.REG_B), 0x02);
  });

  const updating = [
    { atNs: 0, expected: 0 },
    { atNs: 997_700_000, expected: 0 },
    { atNs: 997_800_000, expected: r.A_UPDATING },
    { atNs: 999_999_000, expected: r.A_UPDATING },
    { atNs: SECOND + 1000, expected: 0 },
  ];
  for (const { atNs, expected } of updating)
    it(`UIP at ${atNs} ns is ${expected}`, () => {
      const { clock, read } = rig();
      clock.ns = atNs;
      assert.equal(read(r.REG_A) & r.A_UPDATING, expected);
    });

  const interrupts = [
    { name: 'update, each second', b: 0x12, a: 0x26, expected: 10 },
    { name: 'periodic, 1,024 Hz', b: 0x42, a: 0x26, expected: 10240 },
    { name: 'periodic, 2 Hz', b: 0x42, a: 0x2f, expected: 20 },
    { name: 'nothing enabled', b: 0x02, a: 0x26, expected: 0 },
    { name: 'divider stopped', b: 0x72, a: 0x76, expected: 0 },
  ];
  for (const { name, b, a, expected } of interrupts)
    it(`interrupts: ${name}`, () => {
      const { irq, write, run } = rig();
      write(r.REG_A, a);
      write(r.REG_B, b);
      run(10 * SECOND + 1000);
      assert.ok(Math.abs(irq.rises - expected) <= (expected > 100 ? 1 : 0), `${irq.rises}`);
    });

  const alarms = [
    { name: 'at 00:00:01', alarm: [0x00, 0x00, 0x01], expected: 1 },
    { name: 'every minute at :02', alarm: [0xff, 0xff, 0x02], expected: 2 },
    { name: 'every second', alarm: [0xff, 0xff, 0xff], expected: 70 },
    { name: 'at noon', alarm: [0x12, 0x00, 0x00], expected: 0 },
  ];
  for (const { name, alarm, expected } of alarms)
    it(`alarm: ${name}`, () => {
      const { irq, write, run } = rig();
      for (const [i, register] of [r.HOURS_ALARM, r.MINUTES_ALARM, r.SECONDS_ALARM].entries())
        write(register, alarm[i] ?? 0);
      write(r.REG_B, 0x22);
      run(70 * SECOND + 1000);
      assert.equal(irq.rises, expected);
    });

  it('sets flags without enables, tells them once, and D says that the battery is good', () => {
    const { clock, read } = rig();
    clock.ns = 1.5 * SECOND;
    assert.equal(read(r.REG_C), r.B_PERIODIC | r.B_UPDATE);
    assert.equal(read(r.REG_C), 0);
    assert.equal(read(r.REG_D), 0x80);
  });

  it('keeps what the board and the guest put into CMOS', () => {
    const { rtc, read, write } = rig();
    rtc.setCmos(0x15, 0x80);
    write(0x40 | 0x80, 0x77);
    assert.deepEqual([read(0x15), read(0x40)], [0x80, 0x77]);
  });
});
