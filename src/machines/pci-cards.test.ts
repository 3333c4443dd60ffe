import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PCI_HOST_STATE, PciHost } from '#devices/pci/config-space.ts';
import { MSIX_STATE, msixCapability } from '#devices/pci/msix.ts';
import { PCI_FUNCTION_STATE } from '#devices/pci/pci-function.ts';
import { MmioBus, PortBus } from '#hw/bus.ts';
import { newDeviceState } from '#hw/state.ts';
import { RecordedLine } from '#hw/testing.ts';
import { makeFunction, PciCards, type PciSlot } from './pci-cards.ts';

const SLOT = 3;
const MSIX = { bar: 1, vectors: 2 };

function rig() {
  const slot: PciSlot = {
    slot: SLOT,
    plan: {
      name: 'card',
      msix: MSIX,
      description: {
        vendorId: 1,
        deviceId: 2,
        revision: 0,
        classCode: 0,
        interruptPin: 1,
        bars: new Map([
          [0, { kind: 'io', sizeBytes: 64 }],
          [1, { kind: 'mem32', sizeBytes: 4096 }],
          [4, { kind: 'mem64', sizeBytes: 0x4000 }],
        ] as const),
        capabilities: [msixCapability(MSIX)],
      },
    },
    state: { config: newDeviceState(PCI_FUNCTION_STATE), msix: newDeviceState(MSIX_STATE) },
  };
  const log: string[] = [];
  const line = new RecordedLine();
  const none = { reset: () => {}, readPort: () => 0, writePort: () => {} };
  const host = new PciHost(newDeviceState(PCI_HOST_STATE), {
    resetControl: none,
    gsiOf: () => 16,
    line: () => line,
  });
  const ports = new PortBus({ guestBug: (text) => log.push(text) });
  const mmio = new MmioBus({ guestBug: (text) => log.push(text) });
  const send = (address: number, data: number) =>
    void log.push(`msi ${address.toString(16)} ${data}`);
  const cards = new PciCards([slot], {
    host,
    ports,
    mmio,
    registers: {
      read: (at, bar, offset, size) => {
        log.push(`read ${at}.${bar}+${offset} ${size}`);
        return 0x1234;
      },
      write: (at, bar, offset, size, value) =>
        log.push(`write ${at}.${bar}+${offset} ${size} ${value}`),
    },
    sendMsi: send,
  });
  host.reset();
  cards.reset();
  const config = (offset: number, size: number, value: number) => {
    host.writePort(0, 4, 0x8000_0000 + (SLOT << 11) + (offset & 0xfc));
    host.writePort(4 + (offset & 3), size, value);
  };
  return { slot, log, line, ports, mmio, cards, config, send };
}

describe('cards on the board', () => {
  it('decode where they are assigned, once they are enabled, and pass accesses on', () => {
    const { log, ports, mmio, cards, config } = rig();
    cards.assign();
    mmio.read(0xe000_4000, 4);
    config(4, 2, 7);
    assert.equal(ports.read(0xc000 + 18, 1), 0x1234);
    mmio.write(0xe000_4000 + 0x3000, 2, 5);
    config(4, 2, 0);
    ports.read(0xc000, 1);
    assert.deepEqual(log, [
      'read of 0xe0004000, where nothing is',
      'read 3.0+18 1',
      'write 3.4+12288 2 5',
      'read of port 0xc000',
    ]);
  });

  it('come and go: an empty slot decodes nothing, and a new card starts afresh', () => {
    const { slot, log, line, ports, cards, config } = rig();
    cards.assign();
    config(4, 2, 7);
    cards.setLines(1 << SLOT);
    assert.equal(line.high, true);
    assert.equal(cards.unplug(SLOT), true);
    assert.equal(cards.unplug(SLOT), false);
    assert.equal(line.high, false);
    ports.read(0xc000, 1);
    cards.plug(slot);
    assert.throws(() => cards.plug(slot), RangeError);
    ports.read(0xc000, 1);
    config(0x10, 4, 0xd000);
    config(4, 2, 1);
    assert.equal(ports.read(0xd000, 1), 0x34 + 0x1200);
    assert.deepEqual(log, ['read of port 0xc000', 'read of port 0xc000', 'read 3.0+0 1']);
  });

  it('keep their MSI-X here, for the device thread to see', () => {
    const { slot, log, mmio, cards, config, send } = rig();
    const far = makeFunction(slot, send);
    cards.assign();
    config(4, 2, 2);
    config(0x42, 2, 0x8000);
    assert.equal(far.msix?.isEnabled, true);
    for (const [i, word] of [0xfee0_0000, 0, 0x41, 0].entries())
      mmio.write(0xe000_0000 + 16 + i * 4, 4, word);
    far.msix?.raise(1);
    far.msix?.raise(0);
    assert.deepEqual(log, ['msi fee00000 65']);
    mmio.write(0xe000_0000 + 12, 4, 0);
    assert.deepEqual(log, ['msi fee00000 65', 'msi 0 0']);
  });

  it('drive their pin unless the guest has disabled it', () => {
    const { line, cards, config } = rig();
    cards.setLines(1 << SLOT);
    assert.equal(line.high, true);
    config(4, 2, 0x400);
    assert.equal(line.high, false);
    config(4, 2, 0);
    assert.equal(line.high, true);
    cards.setLines(0);
    assert.deepEqual([line.high, line.rises], [false, 2]);
  });
});
