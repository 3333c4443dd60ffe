// The x86 filter of xz: it makes the targets of CALL and JMP absolute before packing, so that they repeat. Source: the
// public-domain xz-embedded (linux/lib/xz/xz_dec_bcj.c), whose rules about opcode-like bytes nearby must be met exactly.

/** By which of the three bytes before were opcodes: whether an operand may begin here, and how many bytes are suspect. */
const ALLOWED = [true, true, true, false, true, false, false, false];
const SUSPECT_BYTES = [0, 1, 2, 2, 3, 3, 3, 3];

const isTop = (byte: number) => byte === 0 || byte === 0xff;

/** Makes targets relative again, in place. `bytes` is all that the filter saw, from its first byte on. */
export function undoBcjX86(bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let last = -1; // the opcode before
  let mask = 0;
  for (let at = 0; at < bytes.length - 4; at++) {
    if (((bytes[at] ?? 0) & 0xfe) !== 0xe8) continue;
    const gap = at - last;
    last = at;
    mask = gap > 3 ? 0 : (mask << (gap - 1)) & 7;
    const suspect = bytes[at + 4 - (SUSPECT_BYTES[mask] ?? 0)] ?? 0;
    const refused = mask !== 0 && (!ALLOWED[mask] || isTop(suspect));
    if (refused || !isTop(bytes[at + 4] ?? 0)) {
      mask = (mask << 1) | 1;
      continue;
    }
    view.setInt32(at + 1, relative(view.getInt32(at + 1, true), at + 5, mask), true);
    at += 4;
  }
}

/** The operand relative to `next`: 25 bits, sign-extended. */
function relative(absolute: number, next: number, mask: number): number {
  let source = absolute;
  for (;;) {
    const target = (source - next) | 0;
    const shift = (SUSPECT_BYTES[mask] ?? 0) * 8;
    if (mask === 0 || !isTop((target >>> (24 - shift)) & 0xff)) return (target << 7) >> 7;
    source = target ^ (2 ** (32 - shift) - 1);
  }
}
