// Logical unit numbers. Source: virtio 1.2, 5.6.6.1.

/** Numbers below 256 are written the same in all methods of addressing that drivers use (SAM-5, 4.7.7). */
export const MOST_LUN = 255;

/** The number in an address of 8 bytes, which nobody need have; undefined beyond target 0. */
export function lunOf(address: Uint8Array): number | undefined {
  const [first = 0, target = 0, high = 0, low = 0] = address;
  if (first !== 1 || target !== 0) return undefined;
  return ((high & 0x3f) << 8) | low;
}
