/** Bytes as characters of the same codes, for signatures and short names: the first TextDecoder takes a millisecond to make. */
export function latin1Text(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes);
}
