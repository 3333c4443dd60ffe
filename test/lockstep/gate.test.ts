import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { layOut } from '#cpu/layout.ts';
import type { PciCard } from '#devices/pci/pci-card.ts';
import type { GuestMemory } from '#hw/guest-memory.ts';
import { MemoryGate } from '#hw/memory-gate.ts';
import { PAGE_RAM } from '#ir/state.ts';
import { FIRST_CARD_SLOT } from '#machines/pc.ts';
import { DeviceHost } from '#vmm/device-host.ts';
import { DeviceLink } from '#vmm/device-link.ts';
import { assemble, GuestMachine, missingTools } from './guest-machine.ts';

// Devices of other threads and lockstep mode keep off each other's use of memory.

const RAM_BYTES = 1 << 20;

/** Has the gate, says so, and lets go when it has waited. */
const HOLDER = `
  const { words } = require('node:worker_threads').workerData;
  Atomics.or(words, 0, 1);
  Atomics.store(words, 1, 1);
  Atomics.wait(words, 2, 0, 50);
  Atomics.store(words, 1, 2);
  Atomics.and(words, 0, ~1);
`;

describe('the gate between devices and lockstep mode', () => {
  const makeWords = () => new Int32Array(new SharedArrayBuffer(12));

  it('is held by one of them at a time', () => {
    const gate = new MemoryGate(makeWords(), 0);
    gate.enter(() => false);
    gate.enter(() => false);
    assert.equal(gate.hold(), false);
    gate.leave();
    assert.equal(gate.hold(), false);
    gate.leave();
    assert.equal(gate.hold(), true);
    gate.enter(() => true); // the vCPU waits for the device
    gate.release();
    assert.equal(gate.hold(), false);
    gate.leave();
    assert.equal(gate.hold(), true);
  });

  it('makes a device wait while something is compared', async () => {
    const words = makeWords();
    const worker = new Worker(HOLDER, { eval: true, workerData: { words } });
    while (Atomics.load(words, 1) === 0) await setImmediate();
    new MemoryGate(words, 0).enter(() => false);
    assert.equal(Atomics.load(words, 1), 2);
    await worker.terminate();
  });

  it('is closed from a card’s first use of memory until it has no request under way', async () => {
    const layout = layOut(1, RAM_BYTES, 0);
    const memory = new WebAssembly.Memory({ initial: layout.pages, maximum: 65536, shared: true });
    new Uint8Array(memory.buffer, layout.pageMap, RAM_BYTES / 4096).fill(PAGE_RAM);
    const link = new DeviceLink(memory, layout);
    let finish = (): void => {};
    let underWay: Promise<void> = Promise.resolve();
    const makeCard = (ram: GuestMemory): PciCard => ({
      plan: {
        name: 'card',
        description: { vendorId: 1, deviceId: 1, revision: 0, classCode: 0x010802 },
      },
      readBar: () => 0,
      writeBar: () => {
        ram.bytes(0x8000, 16)?.fill(1);
        underWay = new Promise((resolve) => {
          finish = resolve;
        });
      },
      reset: () => {},
      idle: () => underWay,
    });
    const cards = [({ memory: ram }: { memory: GuestMemory }) => makeCard(ram)];
    const host = new DeviceHost({ memory, layout, ramBytes: RAM_BYTES, cards, verify: true });
    assert.equal(link.gate.hold(), true);
    link.gate.release();
    link.post({ slot: FIRST_CARD_SLOT, bar: 0, offset: 0, size: 4, value: 1 });
    host.wake();
    await setImmediate();
    assert.equal(link.gate.hold(), false);
    finish();
    await setImmediate();
    assert.equal(link.gate.hold(), true);
  });

  it('leaves the guest to the interpreter while a device is at work', {
    skip: missingTools(),
  }, () => {
    const gate = new MemoryGate(makeWords(), 0);
    const code = assemble(`
      on_irq: on_fault: hlt
      start: mov $100000, %ecx
      1: inc %r14
      dec %ecx
      jnz 1b
      out %al, $0xf4
      2: jmp 2b\n`);
    const compared = [true, false].map((isBusy) => {
      const machine = new GuestMachine({ verify: true, gate });
      machine.load(code);
      if (isBusy) gate.enter(() => false);
      machine.run();
      if (isBusy) gate.leave();
      return machine.vcpu.lockstepStats?.compared ?? 0;
    });
    assert.equal(compared[0], 0);
    assert.ok((compared[1] ?? 0) > 100);
  });
});
