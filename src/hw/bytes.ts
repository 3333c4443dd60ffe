// A wide access to a device whose registers are bytes is one access to each, low first, as on the ISA bus.

export function readBytes(offset: number, size: number, read: (offset: number) => number): number {
  let value = 0;
  for (let i = 0; i < size; i++) value += (read(offset + i) & 0xff) * 2 ** (8 * i);
  return value;
}

export function writeBytes(
  offset: number,
  size: number,
  value: number,
  write: (offset: number, byte: number) => void,
): void {
  for (let i = 0; i < size; i++) write(offset + i, (value >>> (8 * i)) & 0xff);
}
