import { MIB } from '#base/units.ts';
import type { VmConfig } from '#control/vm.ts';
import { createVm } from '#index.ts';

/** What a Multiboot kernel, or firmware, prints on port 0xe9 until it writes to port 0xf4, or how else it ends. */
export async function runSmallGuest(
  guest: Uint8Array | Pick<VmConfig, 'kernel' | 'firmware'>,
  options: Pick<VmConfig, 'translate' | 'verify'> = {},
): Promise<string> {
  const vm = await createVm({
    ...(guest instanceof Uint8Array ? { kernel: guest } : guest),
    memoryBytes: 8 * MIB,
    append: '',
    cpuModel: 'ring0-v2',
    accel: 'software',
    noReboot: true,
    stats: false,
    ...options,
  });
  let text = '';
  vm.console.onOutput((bytes) => {
    text += Buffer.from(bytes).toString('latin1');
  });
  try {
    const end = await vm.run();
    if (end.type === 'difference') return end.report;
    if (options.verify === true && (vm.stats().verified?.compared ?? 0) === 0)
      return 'nothing was translated';
    return end.type === 'debug-exit' ? text.trim() : `${text}${end.type}`;
  } finally {
    await vm.stop();
  }
}
