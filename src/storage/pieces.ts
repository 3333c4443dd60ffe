/** Bytes of a request whose memory lies in pieces. */
export function totalLength(pieces: readonly Uint8Array[]): number {
  let total = 0;
  for (const { length } of pieces) total += length;
  return total;
}
