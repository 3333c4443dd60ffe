// LZ4 in its legacy frame, as `lz4 -l` makes it for Linux. Source: lz4 doc/lz4_Frame_format.md, doc/lz4_Block_format.md.

const MAGIC = 0x184c2102;
const BLOCK_BYTES = 8 << 20;
const MIN_MATCH = 4;

export function isLz4Legacy(bytes: Uint8Array): boolean {
  return (
    bytes.length >= 4 && new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true) === MAGIC
  );
}

/** Unpacks at most `limit` bytes. @throws {RangeError} on damaged data or a result that is larger. */
export function unpackLz4Legacy(bytes: Uint8Array, limit: number): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let out = new Uint8Array(Math.min(limit, Math.max(bytes.length * 4, BLOCK_BYTES)));
  let length = 0;
  let at = 4;
  while (at + 4 <= bytes.length) {
    const packed = view.getUint32(at, true);
    at += 4;
    if (packed === MAGIC) continue;
    if (packed === 0) break;
    if (at + packed > bytes.length) throw new RangeError('lz4: a block is cut off');
    if (out.length < length + BLOCK_BYTES) {
      const wider = new Uint8Array(Math.min(limit, Math.max(out.length * 2, length + BLOCK_BYTES)));
      wider.set(out);
      out = wider;
    }
    length = unpackBlock(bytes.subarray(at, at + packed), out, length);
    at += packed;
  }
  return out.subarray(0, length);
}

/** Unpacks one block behind `start`; matches do not reach before it. Returns where the output ends. */
function unpackBlock(block: Uint8Array, out: Uint8Array, start: number): number {
  let at = 0;
  let to = start;
  const extended = (count: number): number => {
    let total = count;
    if (count !== 15) return total;
    for (;;) {
      const more = block[at++];
      if (more === undefined) throw new RangeError('lz4: a length is cut off');
      total += more;
      if (more !== 255) return total;
    }
  };
  while (at < block.length) {
    const token = block[at++] ?? 0;
    const literals = extended(token >> 4);
    if (at + literals > block.length || to + literals > out.length)
      throw new RangeError('lz4: literals out of bounds');
    out.set(block.subarray(at, at + literals), to);
    at += literals;
    to += literals;
    if (at === block.length) break;
    const offset = (block[at] ?? 0) | ((block[at + 1] ?? 0) << 8);
    at += 2;
    const match = extended(token & 15) + MIN_MATCH;
    if (offset === 0 || to - offset < start || to + match > out.length)
      throw new RangeError('lz4: a match out of bounds');
    // Matches may overlap what they write: short distances repeat.
    if (offset >= match) out.copyWithin(to, to - offset, to - offset + match);
    else for (let i = 0; i < match; i++) out[to + i] = out[to + i - offset] ?? 0;
    to += match;
  }
  return to;
}
