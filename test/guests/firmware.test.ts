import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { MIB } from '#base/units.ts';
import type { VmConfig } from '#control/vm.ts';
import { createVm } from '#index.ts';

// Debian's package seabios. It says what it does on port 0x402.
const FIRMWARE = ['bios.bin', 'bios-256k.bin'].map((name) => `/usr/share/seabios/${name}`);

const config: Omit<VmConfig, 'firmware'> = {
  memoryBytes: 64 * MIB,
  append: '',
  cpuModel: 'ring0-v2',
  accel: 'software',
  noReboot: true,
  stats: false,
};

/** What firmware says until `wanted` is among it, or it ends. */
async function messages(file: string, wanted: string): Promise<string> {
  const vm = await createVm({ ...config, firmware: readFileSync(file) });
  let text = '';
  vm.console.onOutput((bytes) => {
    text += Buffer.from(bytes).toString('latin1');
    if (text.includes(wanted)) void vm.stop();
  });
  await vm.run();
  await vm.stop();
  return text;
}

describe('SeaBIOS', { timeout: 300_000 }, () => {
  for (const file of FIRMWARE) {
    const skip = existsSync(file) ? false : `no ${file}; install Debian's package seabios`;
    it(`${file} finds the memory and no bootable device`, { skip }, async () => {
      const text = await messages(file, 'No bootable device');
      assert.match(text, /Press ESC for boot menu/);
      assert.match(text, /0000000000100000 - 0000000004000000 = 1 RAM/);
      assert.match(text, /No bootable device/);
    });
  }
});
