import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { newDeviceState } from '#hw/state.ts';
import { ManualClock, RecordedLine } from '#hw/testing.ts';
import * as pm from './pm-timer.ts';

function rig() {
  const clock = new ManualClock();
  const sci = new RecordedLine();
  const counts = { off: 0 };
  const chip = new pm.PowerManagement(newDeviceState(pm.PM_STATE), clock, {
    sci,
    softOffType: 5,
    powerOff: () => counts.off++,
  });
  chip.reset();
  return { clock, sci, counts, chip };
}

describe('ACPI power management', () => {
  const times = [
    { ns: 0, ticks: 0 },
    { ns: 1_000_000_000, ticks: 3_579_545 },
    { ns: 1_200_000_000_000, ticks: 1200 * 3_579_545 - 2 ** 32 },
  ];
  for (const { ns, ticks } of times)
    it(`the timer shows ${ticks} at ${ns} ns`, () => {
      const { clock, chip } = rig();
      clock.ns = ns;
      assert.ok(Math.abs(chip.readPort(pm.PM_TIMER, 4) - ticks) <= 1);
    });

  it('the power button raises the SCI until its status is cleared', () => {
    const { sci, chip } = rig();
    chip.pressPowerButton();
    assert.equal(sci.high, false);
    chip.writePort(pm.PM1_ENABLE, 2, 0x100);
    assert.equal(sci.high, true);
    assert.equal(chip.readPort(pm.PM1_STATUS, 2), 0x100);
    chip.writePort(pm.PM1_STATUS, 2, 0x100);
    assert.equal(sci.high, false);
    assert.equal(chip.readPort(pm.PM1_STATUS, 4), 0x0100_0000);
  });

  it('a general-purpose event raises the SCI while it is enabled and not cleared', () => {
    const { sci, chip } = rig();
    chip.raiseGpe(pm.GPE_PCI_HOTPLUG);
    assert.equal(sci.high, false);
    chip.writePort(pm.GPE0 + 2, 1, 0x02);
    assert.equal(sci.high, true);
    assert.equal(chip.readPort(pm.GPE0, 4), 0x0002_0002);
    chip.writePort(pm.GPE0, 1, 0x01);
    assert.equal(sci.high, true);
    chip.writePort(pm.GPE0, 1, 0x02);
    assert.equal(sci.high, false);
    chip.reset();
    assert.equal(chip.readPort(pm.GPE0, 4), 0);
  });

  const sleeps = [
    { name: 'S5', writes: [0x3400], off: 1 },
    { name: 'another sleep type', writes: [0x2400], off: 0 },
    { name: 'the type without SLP_EN', writes: [0x1400], off: 0 },
    {
      name: 'the type, then SLP_EN, as ACPICA does',
      writes: [0x1401, 0x3401],
      off: 1,
    },
  ];
  for (const { name, writes, off } of sleeps)
    it(`control: ${name}`, () => {
      const { counts, chip } = rig();
      for (const value of writes) chip.writePort(pm.PM1_CONTROL, 2, value);
      assert.equal(counts.off, off);
      assert.equal(chip.readPort(pm.PM1_CONTROL, 2) & 0x2001, 1, 'SCI_EN reads 1, SLP_EN 0');
    });

  it('the top bit of the timer raises its status at every change', () => {
    const { clock, sci, chip } = rig();
    assert.equal(chip.nextDeadlineNs(), Number.POSITIVE_INFINITY);
    chip.writePort(pm.PM1_ENABLE, 2, 1);
    for (let i = 1; i <= 3; i++) {
      clock.ns = chip.nextDeadlineNs();
      chip.advance(clock.ns);
      assert.equal(sci.rises, i);
      chip.writePort(pm.PM1_STATUS, 1, 1);
    }
    assert.ok(Math.abs(clock.ns / 1e9 - (3 * 2 ** 31) / 3_579_545) < 0.001);
  });
});
