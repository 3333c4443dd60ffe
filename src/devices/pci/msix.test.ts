import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { newDeviceState } from '#hw/state.ts';
import { MSIX_STATE, Msix, msixCapability } from './msix.ts';
import { PCI_FUNCTION_STATE, PciFunction } from './pci-function.ts';

const VECTORS = 3;
const ENABLE = 0x8000;
const MASK_ALL = 0x4000;

/** Both sides over one state, as on two threads. */
function rig() {
  const config = newDeviceState(PCI_FUNCTION_STATE);
  const state = newDeviceState(MSIX_STATE);
  const sent: string[] = [];
  const side = (name: string) => {
    const capabilities = [msixCapability({ bar: 1, vectors: VECTORS })];
    const id = { vendorId: 1, deviceId: 2, revision: 0, classCode: 0 };
    const fn = new PciFunction(config, { ...id, capabilities });
    const send = (address: number, data: number) =>
      void sent.push(`${name} ${address.toString(16)} ${data}`);
    return { fn, msix: new Msix(state, { fn, capability: 0x40, vectors: VECTORS, send }) };
  };
  const [cpu, device] = [side('cpu'), side('device')];
  cpu.fn.reset();
  cpu.msix.reset();
  const control = (value: number) => {
    cpu.fn.write(0x42, 2, value);
    cpu.msix.controlChanged();
  };
  const entry = (vector: number, data: number, masked: boolean) => {
    const words = [0xfee0_0000, 0, data, masked ? 1 : 0];
    for (const [i, word] of words.entries()) cpu.msix.writeMmio(vector * 16 + i * 4, 4, word);
  };
  return { cpu, device, sent, control, entry };
}

describe('MSI-X', () => {
  it('sends nothing before it is enabled, and then what the entry says', () => {
    const { device, sent, control, entry } = rig();
    entry(1, 0x31, false);
    device.msix.raise(1);
    control(ENABLE);
    assert.deepEqual(sent, []);
    device.msix.raise(1);
    assert.deepEqual(sent, ['device fee00000 49']);
  });

  it('keeps a masked message pending, once, until the entry is unmasked', () => {
    const { cpu, device, sent, control, entry } = rig();
    control(ENABLE);
    entry(2, 0x32, true);
    device.msix.raise(2);
    device.msix.raise(2);
    assert.equal(cpu.msix.readMmio(0x800, 4), 4);
    entry(2, 0x32, false);
    assert.deepEqual(sent, ['cpu fee00000 50']);
    assert.equal(cpu.msix.readMmio(0x800, 4), 0);
  });

  it('keeps all pending while the function is masked', () => {
    const { device, sent, control, entry } = rig();
    control(ENABLE | MASK_ALL);
    for (const vector of [0, 1]) entry(vector, 0x40 + vector, false);
    for (const vector of [0, 1]) device.msix.raise(vector);
    assert.deepEqual(sent, []);
    control(ENABLE);
    assert.deepEqual(sent, ['cpu fee00000 64', 'cpu fee00000 65']);
  });

  it('has no vectors beyond its table', () => {
    const { cpu, device, sent, control, entry } = rig();
    control(ENABLE);
    entry(VECTORS, 0x50, false);
    device.msix.raise(VECTORS);
    device.msix.raise(-1);
    assert.equal(cpu.msix.readMmio(VECTORS * 16, 4), 0);
    assert.deepEqual(sent, []);
  });

  it('starts masked', () => {
    const { cpu } = rig();
    assert.equal(cpu.msix.readMmio(12, 4), 1);
  });
});
