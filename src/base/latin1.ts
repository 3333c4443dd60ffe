/** Bytes as characters of the same codes, for signatures and short names: the first TextDecoder takes a millisecond to make. */
export function latin1Text(bytes: Uint8Array): string {
  let text = '';
  for (let at = 0; at < bytes.length; at++) text += String.fromCharCode(bytes[at] ?? 0);
  return text;
}
