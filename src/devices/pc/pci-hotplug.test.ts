import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { newDeviceState } from '#hw/state.ts';
import * as hotplug from './pci-hotplug.ts';

function rig() {
  const log: string[] = [];
  const chip = new hotplug.PciHotplug(newDeviceState(hotplug.HOTPLUG_STATE), {
    notify: () => log.push('notify'),
    eject: (slot) => log.push(`eject ${slot}`),
  });
  chip.reset();
  return { log, chip };
}

describe('PCI hotplug registers', () => {
  it('keep what has come and what is to go until they are cleared', () => {
    const { log, chip } = rig();
    chip.arrived(3);
    chip.arrived(31);
    chip.leave(4);
    assert.equal(chip.readPort(hotplug.HOTPLUG_ARRIVED, 4), 0x8000_0008);
    assert.equal(chip.readPort(hotplug.HOTPLUG_LEAVING, 4), 0x10);
    chip.writePort(hotplug.HOTPLUG_ARRIVED, 4, 8);
    assert.equal(chip.readPort(hotplug.HOTPLUG_ARRIVED, 4), 0x8000_0000);
    chip.writePort(hotplug.HOTPLUG_LEAVING, 4, 0xffff_ffff);
    assert.equal(chip.readPort(hotplug.HOTPLUG_LEAVING, 4), 0);
    assert.deepEqual(log, ['notify', 'notify', 'notify']);
  });

  it('switch off each slot that is written', () => {
    const { log, chip } = rig();
    chip.writePort(hotplug.HOTPLUG_EJECT, 4, 0x8000_0004);
    chip.writePort(hotplug.HOTPLUG_EJECT, 2, 0x8);
    assert.deepEqual(log, ['eject 2', 'eject 31']);
    assert.equal(chip.readPort(hotplug.HOTPLUG_EJECT, 4), 0);
  });

  it('forget a slot that is empty', () => {
    const { log, chip } = rig();
    chip.arrived(5);
    chip.leave(5);
    chip.leave(6);
    chip.left(5, true);
    assert.equal(chip.readPort(hotplug.HOTPLUG_ARRIVED, 4), 0);
    assert.equal(chip.readPort(hotplug.HOTPLUG_LEAVING, 4), 0x40);
    assert.equal(log.length, 3);
    chip.left(7, false);
    assert.equal(chip.readPort(hotplug.HOTPLUG_ARRIVED, 4), 1);
    assert.equal(log.length, 4);
  });
});
