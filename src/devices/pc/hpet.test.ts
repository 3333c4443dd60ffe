import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { newDeviceState } from '#hw/state.ts';
import { ManualClock, RecordedLine } from '#hw/testing.ts';
import { HPET_STATE, Hpet } from './hpet.ts';
import * as r from './hpet-regs.ts';

const ENABLE_LEGACY = r.CONF_ENABLE | r.CONF_LEGACY;
const CONFIG0 = r.TIMERS;
const COMPARE0 = r.TIMERS + r.TIMER_COMPARATOR;

function rig() {
  const clock = new ManualClock();
  const [irq0, irq8, pin20] = [new RecordedLine(), new RecordedLine(), new RecordedLine()];
  const other = new RecordedLine();
  const legacy: boolean[] = [];
  const hpet = new Hpet(newDeviceState(HPET_STATE), clock, {
    route: (gsi) => (gsi === 20 ? pin20 : other),
    irq0,
    irq8,
    legacyChanged: (isLegacy) => legacy.push(isLegacy),
  });
  hpet.reset();
  const read = (offset: number) => hpet.readMmio(offset, 4);
  const write = (offset: number, value: number) => hpet.writeMmio(offset, 4, value);
  const run = (ns: number) => {
    for (;;) {
      clock.ns = Math.min(ns, hpet.nextDeadlineNs());
      hpet.advance(clock.ns);
      if (clock.ns >= ns) return;
    }
  };
  return { clock, irq0, irq8, pin20, legacy, hpet, read, write, run };
}

describe('HPET', () => {
  it('tells three timers, 64 bits, legacy routes, and 100 MHz', () => {
    const { read } = rig();
    assert.equal(read(r.CAPABILITIES), 0x8086_a201);
    assert.equal(read(r.CAPABILITIES_HIGH), 10_000_000);
  });

  it('counts only while enabled, keeps its value, and carries into the high half', () => {
    const { clock, read, write } = rig();
    clock.ns = 1000;
    assert.equal(read(r.COUNTER), 0);
    write(r.COUNTER, 0xffff_fff0);
    write(r.CONFIGURATION, r.CONF_ENABLE);
    clock.ns = 1000 + 320;
    assert.deepEqual([read(r.COUNTER), read(r.COUNTER_HIGH)], [0x10, 1]);
    write(r.CONFIGURATION, 0);
    clock.ns = 9000;
    assert.deepEqual([read(r.COUNTER), read(r.COUNTER_HIGH)], [0x10, 1]);
  });

  it('one-shot on IRQ 0, as the clock event of Linux uses it', () => {
    const { irq0, legacy, read, write, run } = rig();
    write(r.CONFIGURATION, ENABLE_LEGACY);
    write(CONFIG0, r.T_ENABLE | r.T_32BIT);
    write(COMPARE0, read(r.COUNTER) + 1000);
    run(9_990);
    assert.equal(irq0.rises, 0);
    run(1_000_000);
    assert.equal(irq0.rises, 1);
    assert.deepEqual(legacy, [false, true]);
  });

  it('periodic on IRQ 0: comparator under "set value", then the period', () => {
    const { irq0, read, write, run } = rig();
    write(CONFIG0, r.T_ENABLE | r.T_PERIODIC | r.T_SET_VALUE | r.T_32BIT);
    write(COMPARE0, 5000);
    write(COMPARE0, 1000);
    assert.equal(read(CONFIG0) & r.T_SET_VALUE, 0);
    write(r.CONFIGURATION, ENABLE_LEGACY);
    run(50_000 + 10 * 10_000);
    assert.equal(irq0.rises, 11);
    assert.equal(read(COMPARE0), 16_000);
  });

  it('periods that were missed count once, and the next is in the future', () => {
    const { clock, irq0, hpet, read, write } = rig();
    write(CONFIG0, r.T_ENABLE | r.T_PERIODIC | r.T_SET_VALUE | r.T_32BIT);
    write(COMPARE0, 1000);
    write(COMPARE0, 1000);
    write(r.CONFIGURATION, ENABLE_LEGACY);
    clock.ns = 105_000;
    hpet.advance(clock.ns);
    assert.equal(irq0.rises, 1);
    assert.equal(read(COMPARE0), 11_000);
  });

  it('matches once when time is not whole nanoseconds', () => {
    const { clock, irq0, hpet, write } = rig();
    clock.ns = 1234.56789;
    write(r.CONFIGURATION, ENABLE_LEGACY);
    write(CONFIG0, r.T_ENABLE | r.T_32BIT);
    write(COMPARE0, 333);
    clock.ns = hpet.nextDeadlineNs();
    for (let i = 0; i < 3; i++) hpet.advance(clock.ns);
    assert.equal(irq0.rises, 1);
    assert.ok(hpet.nextDeadlineNs() > 1e9);
  });

  it('a comparator in the past waits for the counter to come round', () => {
    const { clock, hpet, write } = rig();
    write(r.CONFIGURATION, r.CONF_ENABLE);
    clock.ns = 1000;
    write(CONFIG0, r.T_ENABLE | r.T_32BIT);
    write(COMPARE0, 50);
    assert.equal(hpet.nextDeadlineNs(), (2 ** 32 + 50) * 10);
  });

  it('level on an I/O APIC input: high until the status is cleared', () => {
    const { pin20, read, write, run } = rig();
    const config = r.TIMERS + 2 * r.TIMER_STRIDE;
    write(config, r.T_ENABLE | r.T_LEVEL | (20 << r.T_ROUTE_SHIFT));
    write(config + r.TIMER_COMPARATOR, 100);
    write(config + r.TIMER_COMPARATOR_HIGH, 0);
    write(r.CONFIGURATION, r.CONF_ENABLE);
    run(2000);
    assert.equal(pin20.high, true);
    assert.equal(read(r.INTERRUPT_STATUS), 4);
    write(r.INTERRUPT_STATUS, 4);
    assert.equal(pin20.high, false);
  });

  it('timer 1 replaces the RTC in legacy mode', () => {
    const { irq8, write, run } = rig();
    write(r.TIMERS + r.TIMER_STRIDE, r.T_ENABLE | r.T_32BIT);
    write(r.TIMERS + r.TIMER_STRIDE + r.TIMER_COMPARATOR, 100);
    write(r.CONFIGURATION, ENABLE_LEGACY);
    run(2000);
    assert.equal(irq8.rises, 1);
  });

  it('a 64-bit comparator is set in two halves', () => {
    const { read, write } = rig();
    write(CONFIG0, r.T_PERIODIC | r.T_SET_VALUE);
    write(COMPARE0, 7);
    write(COMPARE0 + 4, 1);
    assert.deepEqual([read(COMPARE0), read(COMPARE0 + 4)], [7, 1]);
    write(COMPARE0, 9);
    assert.equal(read(COMPARE0), 7, 'without "set value" only the period');
  });
});
