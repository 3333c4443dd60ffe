/** Bytes of a request whose memory lies in pieces. */
export function totalLength(pieces: readonly Uint8Array[]): number {
  let total = 0;
  for (const { length } of pieces) total += length;
  return total;
}

/** Copies pieces, one behind another, into `into`. */
export function gather(pieces: readonly Uint8Array[], into: Uint8Array): void {
  let at = 0;
  for (const piece of pieces) {
    into.set(piece, at);
    at += piece.length;
  }
}

/** Copies what lies in one into pieces that hold as much. */
export function spread(from: Uint8Array, pieces: readonly Uint8Array[]): void {
  let at = 0;
  for (const piece of pieces) {
    piece.set(from.subarray(at, at + piece.length));
    at += piece.length;
  }
}
