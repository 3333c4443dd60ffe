import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { GIB, KIB, MIB } from '#base/units.ts';
import { checkConfig, DEFAULT_CPU_MODEL } from './config.ts';
import type { VmConfig } from './vm.ts';

const good: VmConfig = {
  memoryBytes: 256 * MIB,
  kernel: new Uint8Array(100),
  append: '',
  cpuModel: DEFAULT_CPU_MODEL,
  accel: 'auto',
  noReboot: false,
  stats: false,
};
const { kernel: _kernel, ...withoutKernel } = good;

describe('checkConfig', () => {
  it('takes a good config, and one of firmware alone', () => {
    checkConfig(good);
    checkConfig({ ...withoutKernel, firmware: new Uint8Array(64 * KIB) });
  });

  const bytes = new Uint8Array(3 * MIB);
  const cases: { name: string; config: VmConfig; field: string; message: RegExp }[] = [
    {
      name: 'no memory',
      config: { ...good, memoryBytes: 0 },
      field: 'memory',
      message: /0 bytes is too small; give 2 MiB/,
    },
    {
      name: 'too much memory',
      config: { ...good, memoryBytes: 4 * GIB },
      field: 'memory',
      message: /4 GiB is too large/,
    },
    {
      name: 'a little too much memory',
      config: { ...good, memoryBytes: 3585 * MIB },
      field: 'memory',
      message: /^3585 MiB is too large; give 2 MiB to 3\.5 GiB/,
    },
    {
      name: 'part of a page',
      config: { ...good, memoryBytes: 4 * MIB + 1 },
      field: 'memory',
      message: /multiple of 4 KiB/,
    },
    { name: 'nothing to run', config: withoutKernel, field: 'kernel', message: /nothing to run/ },
    {
      name: 'a kernel and a firmware',
      config: { ...good, firmware: bytes },
      field: 'firmware',
      message: /not in both/,
    },
    {
      name: 'an initrd for a firmware',
      config: { ...withoutKernel, firmware: bytes, initrd: bytes },
      field: 'initrd',
      message: /needs a kernel/,
    },
    {
      name: 'an initrd larger than memory',
      config: { ...good, memoryBytes: 2 * MIB, initrd: bytes, initrdName: 'my.img' },
      field: 'initrd',
      message: /my\.img: 3 MiB does not fit in a memory of 2 MiB; give more/,
    },
    {
      name: 'modules that do not fit together',
      config: {
        ...good,
        memoryBytes: 4 * MIB,
        modules: [
          { bytes, cmdline: '' },
          { bytes, cmdline: '' },
        ],
      },
      field: 'module',
      message: /does not fit/,
    },
  ];
  for (const { name, config, field, message } of cases)
    it(`rejects ${name}`, () =>
      assert.throws(() => checkConfig(config), { name: 'RequestError', field, message }));
});
