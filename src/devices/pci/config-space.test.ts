import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { PortDevice } from '#hw/device.ts';
import { newDeviceState } from '#hw/state.ts';
import { RecordedLine } from '#hw/testing.ts';
import { PCI_HOST_STATE, PciHost } from './config-space.ts';
import { HOST_BRIDGE, ISA_BRIDGE } from './i440fx.ts';
import {
  PCI_FUNCTION_STATE,
  type PciDescription,
  type PciEvents,
  PciFunction,
} from './pci-function.ts';

const CARD: PciDescription = {
  vendorId: 0x1af4,
  deviceId: 0x1041,
  revision: 1,
  classCode: 0x02_00_00,
  interruptPin: 1,
  bars: new Map([
    [0, { kind: 'io', sizeBytes: 64 }],
    [1, { kind: 'mem32', sizeBytes: 4096 }],
    [4, { kind: 'mem64', sizeBytes: 0x4000, isPrefetchable: true }],
  ] as const),
  capabilities: [
    {
      id: 0x11,
      bytes: new Uint8Array(10).fill(1),
      writable: Uint8Array.of(0, 0xc0),
    },
    { id: 0x09, bytes: new Uint8Array(14), writable: new Uint8Array(14) },
  ],
};

function fn(description: PciDescription, events?: PciEvents): PciFunction {
  return new PciFunction(newDeviceState(PCI_FUNCTION_STATE), description, events);
}

function rig(events?: PciEvents) {
  const lines = new Map<number, RecordedLine>();
  const line = (gsi: number) => {
    const known = lines.get(gsi) ?? new RecordedLine();
    lines.set(gsi, known);
    return known;
  };
  const resetWrites: number[] = [];
  const resetControl: PortDevice = {
    reset: () => {},
    readPort: () => 0x02,
    writePort: (_offset, _size, value) => resetWrites.push(value),
  };
  const gsiOf = (slot: number, pin: number) => 16 + ((slot + pin - 1) % 4);
  const host = new PciHost(newDeviceState(PCI_HOST_STATE), {
    resetControl,
    gsiOf,
    line,
  });
  const card = fn(CARD, events);
  host.add(0, fn(HOST_BRIDGE));
  host.add(1, fn(ISA_BRIDGE));
  host.add(3, card);
  host.reset();
  const select = (slot: number, offset: number, functionNumber = 0) =>
    host.writePort(0, 4, 0x8000_0000 + (slot << 11) + (functionNumber << 8) + (offset & 0xfc));
  const read = (slot: number, offset: number, size: number, functionNumber = 0) => {
    select(slot, offset, functionNumber);
    return host.readPort(4 + (offset & 3), size);
  };
  const write = (slot: number, offset: number, size: number, value: number) => {
    select(slot, offset);
    host.writePort(4 + (offset & 3), size, value);
  };
  return { host, card, line, resetWrites, read, write };
}

describe('configuration mechanism #1', () => {
  const reads = [
    { name: 'host bridge', slot: 0, offset: 0, size: 4, expected: 0x1237_8086 },
    { name: 'ISA bridge', slot: 1, offset: 0, size: 4, expected: 0x7000_8086 },
    { name: 'its class', slot: 1, offset: 0x0a, size: 2, expected: 0x0601 },
    { name: 'one byte', slot: 3, offset: 3, size: 1, expected: 0x10 },
    { name: 'nobody', slot: 5, offset: 0, size: 4, expected: 0xffff_ffff },
    { name: 'nobody, 16 bits', slot: 5, offset: 0, size: 2, expected: 0xffff },
    { name: 'capability list', slot: 3, offset: 0x34, size: 1, expected: 0x40 },
    { name: 'and its status bit', slot: 3, offset: 6, size: 2, expected: 0x10 },
    {
      name: 'first capability',
      slot: 3,
      offset: 0x40,
      size: 2,
      expected: 0x4c11,
    },
    {
      name: 'second capability',
      slot: 3,
      offset: 0x4c,
      size: 2,
      expected: 0x0009,
    },
  ];
  for (const { name, slot, offset, size, expected } of reads)
    it(name, () => assert.equal(rig().read(slot, offset, size), expected));

  it('is probed as Linux does, and passes 0xcf9 on', () => {
    const { host, resetWrites } = rig();
    host.writePort(3, 1, 1);
    host.writePort(0, 4, 0x8000_0000);
    assert.equal(host.readPort(0, 4), 0x8000_0000);
    host.writePort(1, 1, 6);
    assert.deepEqual(resetWrites, [6]);
    assert.equal(host.readPort(1, 1), 2);
    assert.equal(host.readPort(0, 4), 0x8000_0000);
    host.writePort(0, 4, 0);
    assert.equal(host.readPort(4, 4), 0xffff_ffff, 'not enabled');
    host.writePort(0, 4, 0x8001_0000);
    assert.equal(host.readPort(4, 4), 0xffff_ffff, 'another bus');
  });

  const sizes = [
    { name: 'I/O', offset: 0x10, expected: 0xffff_ffc1 },
    { name: '32-bit memory', offset: 0x14, expected: 0xffff_f000 },
    { name: '64-bit memory, low', offset: 0x20, expected: 0xffff_c00c },
    { name: '64-bit memory, high', offset: 0x24, expected: 0xffff_ffff },
    { name: 'absent', offset: 0x18, expected: 0 },
  ];
  for (const { name, offset, expected } of sizes)
    it(`BAR sizing: ${name}`, () => {
      const { read, write } = rig();
      write(3, offset, 4, 0xffff_ffff);
      assert.equal(read(3, offset, 4), expected);
    });

  it('tells where BARs decode, and when they stop', () => {
    const moves: [number, number | undefined][] = [];
    const { host, card, write } = rig({
      barMoved: (bar, address) => moves.push([bar, address]),
    });
    write(3, 0x10, 4, 0xc001);
    write(3, 0x20, 4, 0xe000_0000);
    write(3, 0x24, 4, 0x2);
    assert.deepEqual(moves, []);
    write(3, 0x04, 2, 0x0001);
    write(3, 0x04, 2, 0x0006);
    host.reset();
    assert.deepEqual(moves, [
      [0, 0xc000],
      [0, undefined],
      [1, 0],
      [4, 0x2_e000_0000],
      [1, undefined],
      [4, undefined],
    ]);
    assert.equal(card.isBusMaster, false);
  });

  it('keeps read-only bytes, and reports writes to capabilities', () => {
    const writes: [number, number][] = [];
    const { card, read, write } = rig({
      configWritten: (offset, size) => writes.push([offset, size]),
    });
    write(3, 0x00, 4, 0);
    assert.equal(read(3, 0, 4), 0x1041_1af4);
    write(3, 0x42, 2, 0xffff);
    assert.equal(read(3, 0x42, 2), 0xc101);
    assert.deepEqual(writes, [[0x42, 2]]);
    assert.deepEqual(card.capabilityOffsets, [0x40, 0x4c]);
    write(3, 0x3c, 1, 11);
    assert.equal(read(3, 0x3c, 2), 0x010b);
  });

  it('marks a slot with several functions in each', () => {
    const { host, read } = rig();
    assert.equal(read(1, 0x0e, 1), 0);
    host.add(1, fn(CARD), 2);
    assert.equal(read(1, 0x0e, 1), 0x80);
    assert.equal(read(1, 0x0c, 4), 0x80_0000);
    assert.throws(() => host.add(1, fn(CARD), 2), RangeError);
  });

  it('finds nobody in a slot whose card was taken out, which has room again', () => {
    const { host, read } = rig();
    assert.notEqual(read(3, 0, 4), 0xffff_ffff);
    host.remove(3);
    assert.equal(read(3, 0, 4), 0xffff_ffff);
    host.add(3, fn(CARD));
  });

  it('a GSI shared by two slots is asserted while either is', () => {
    const { host, line } = rig();
    const [a, b] = [host.intx(2, 1), host.intx(6, 1)];
    a.set(true);
    b.set(true);
    a.set(false);
    assert.equal(line(18).high, true);
    b.set(false);
    assert.equal(line(18).high, false);
  });

  it('INTx# shows in the status register and can be disabled', () => {
    const { card, read, write } = rig();
    assert.equal(card.setInterruptStatus(true), true);
    assert.equal(read(3, 6, 1), 0x18);
    write(3, 4, 2, 0x400);
    assert.equal(card.setInterruptStatus(true), false);
  });
});
