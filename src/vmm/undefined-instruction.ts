import type { CpuModel } from '#cpu/cpuid.ts';
import type { MemoryLayout } from '#cpu/layout.ts';
import { readState } from '#cpu/vcpu-state.ts';
import { Decoder } from '#translate/x86/decode.ts';
import { AddressSpace } from './address-space.ts';
import { codeSizeOf, linearRip } from './code-place.ts';
import { PhysicalMemory } from './physical-memory.ts';

const MAX_INSN_BYTES = 15;
const SHOWN_BYTES = 8;
/** UD2, UD1 and UD0: programs mean them. */
const MEANT = [0x0b, 0xb9, 0xff];
/** Stands in a text of `describeUndefined` that tells of the model. */
export const LACKS = 'the CPU model lacks';

/**
 * Why the instruction at RIP has raised #UD, where that is because it is missing from this processor, not because the
 * guest is wrong to use it.
 */
export function describeUndefined(
  memory: WebAssembly.Memory,
  layout: MemoryLayout,
  model: CpuModel,
): string | undefined {
  const state = readState(memory, layout.cpus[0] ?? 0);
  const space = new AddressSpace(new PhysicalMemory(memory, layout), state);
  const rip = linearRip(state);
  const bytes = space.read(rip, MAX_INSN_BYTES);
  const insn = new Decoder(bytes, codeSizeOf(state)).decode(0, bytes.length);
  const code = Array.from(bytes.subarray(0, SHOWN_BYTES), (b) => b.toString(16).padStart(2, '0'));
  const where = `${code.join(' ')} at 0x${rip.toString(16)}`;
  if (insn === 'undefined') {
    const meant = bytes[0] === 0x0f && MEANT.includes(bytes[1] ?? 0);
    return meant ? undefined : `instruction ${where}, which is none that ring0 knows`;
  }
  if (typeof insn === 'string') return undefined;
  const { name, options } = insn.row;
  if (options.feature === undefined || model.features.has(options.feature)) return undefined;
  return `instruction ${options.as ?? name} (${where}), for which ${LACKS} ${options.feature}`;
}
