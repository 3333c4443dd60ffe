export const UUID_BYTES = 16;

/** Version 4, variant 1 (RFC 9562, 5.4). */
export function randomUuid(): Uint8Array {
  const bytes = crypto.getRandomValues(new Uint8Array(UUID_BYTES));
  // The version stands in byte 7 where the first fields are little-endian; readers take any value.
  bytes[7] = ((bytes[7] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  return bytes;
}

/** Bytes in the order of the text, from those whose first three fields are little-endian, and back. */
function swapped(uuid: Uint8Array): Uint8Array {
  const order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
  return Uint8Array.from(order, (at) => uuid[at] ?? 0);
}

/** The text of a UUID whose first three fields are little-endian, as Microsoft and VirtualBox store them. */
export function uuidText(uuid: Uint8Array): string {
  const hex = Array.from(swapped(uuid), (byte) => byte.toString(16).padStart(2, '0')).join('');
  return [
    [0, 8],
    [8, 12],
    [12, 16],
    [16, 20],
    [20, 32],
  ]
    .map(([from, to]) => hex.slice(from, to))
    .join('-');
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}

/** The opposite of uuidText. */
export function uuidBytes(text: string): Uint8Array {
  const hex = text.replaceAll('-', '');
  const bytes = Uint8Array.from({ length: UUID_BYTES }, (_, at) =>
    Number.parseInt(hex.slice(at * 2, at * 2 + 2), 16),
  );
  return swapped(bytes);
}
