import { irqChipStateSize } from '#cpu/irqchip/irqchip.ts';
import type { MemoryLayout } from '#cpu/layout.ts';
import type { DeviceState } from '#hw/device.ts';
import { MAILBOX_BYTES } from './mailbox.ts';

const DEVICE_I32_WORDS = 16384;
const DEVICE_F64_WORDS = 1024;

/** The shared state of the interrupt controllers and of the board's chips, one behind the other. */
export function chipState(
  memory: WebAssembly.Memory,
  layout: MemoryLayout,
): { irqchip: DeviceState; board: DeviceState } {
  const size = irqChipStateSize(layout.cpus.length);
  const f64At = Math.ceil((layout.devices + MAILBOX_BYTES) / 8) * 8;
  const i32At = f64At + DEVICE_F64_WORDS * 8;
  const f64 = (from: number, count: number) =>
    new Float64Array(memory.buffer, f64At + from * 8, count);
  const i32 = (from: number, count: number) =>
    new Int32Array(memory.buffer, i32At + from * 4, count);
  return {
    irqchip: { i32: i32(0, size.i32), f64: f64(0, size.f64) },
    board: {
      i32: i32(size.i32, DEVICE_I32_WORDS - size.i32),
      f64: f64(size.f64, DEVICE_F64_WORDS - size.f64),
    },
  };
}
