import { probeWrite, write8 } from './access.ts';
import { GP, raiseError } from './raise.ts';
import { seg_address } from './segments.ts';

/** Raises #GP(0) where a 16-byte operand must be aligned and is not (SDM vol. 1, 4.6.1.1). */
export function check_aligned(cpu: usize, vaddr: u64): void {
  if (vaddr & 15) raiseError(cpu, GP, 0);
}

/** Sums of absolute differences of four bytes of `b`, chosen by bits 1:0, and those of `a` from byte 0 or 4 (bit 2) on. */
export function sse_mpsadbw(_cpu: usize, a: v128, b: v128, control: u32): v128 {
  const four = i32x4.splat(
    <u32>(
      ((control & 2 ? i64x2.extract_lane(b, 1) : i64x2.extract_lane(b, 0)) >>
        (control & 1 ? 32 : 0))
    ),
  );
  // Bytes s … s+10 of `a`: pairs of the window that starts at each of the eight places.
  const window =
    control & 4 ? i8x16.shuffle(a, a, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 0, 0, 0) : a;
  const low = i8x16.shuffle(window, window, 0, 1, 2, 3, 1, 2, 3, 4, 2, 3, 4, 5, 3, 4, 5, 6);
  const high = i8x16.shuffle(window, window, 4, 5, 6, 7, 5, 6, 7, 8, 6, 7, 8, 9, 7, 8, 9, 10);
  return i16x8.narrow_i32x4_u(differences(low, four), differences(high, four));
}

function differences(x: v128, y: v128): v128 {
  const bytes = i8x16.sub(i8x16.max_u(x, y), i8x16.min_u(x, y));
  return i32x4.extadd_pairwise_i16x8_u(i16x8.extadd_pairwise_i8x16_u(bytes));
}

/** The least of eight words and, in the word above it, the first place it stands at. */
export function sse_phminposuw(_cpu: usize, v: v128): v128 {
  let least = i16x8.min_u(
    v,
    i8x16.shuffle(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7),
  );
  least = i16x8.min_u(
    least,
    i8x16.shuffle(least, least, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3),
  );
  least = i16x8.min_u(
    least,
    i8x16.shuffle(least, least, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1),
  );
  const word = <u32>i16x8.extract_lane_u(least, 0);
  const place = ctz<u32>(i16x8.bitmask(i16x8.eq(v, i16x8.splat(<i16>word))));
  return i32x4.replace_lane(i32x4.splat(0), 0, word | (place << 16));
}

/** MASKMOVDQU and MASKMOVQ: stores the bytes whose mask has bit 7 set. `offset` is cut by the caller to the address size. */
export function sse_masked_store(
  cpu: usize,
  seg: u32,
  offset: u64,
  offsetMask: u64,
  value: v128,
  mask: v128,
): void {
  const bits = <u32>i8x16.bitmask(mask);
  for (let i: u32 = 0; i < 16; i++) {
    if ((bits >> i) & 1) probeWrite(cpu, seg_address(cpu, seg, (offset + i) & offsetMask, 1, 1), 1);
  }
  for (let i: u32 = 0; i < 16; i++) {
    if (!((bits >> i) & 1)) continue;
    const half = <u64>(i < 8 ? i64x2.extract_lane(value, 0) : i64x2.extract_lane(value, 1));
    write8(
      cpu,
      seg_address(cpu, seg, (offset + i) & offsetMask, 1, 1),
      <u32>(half >> ((i & 7) * 8)) & 0xff,
    );
  }
}

function carryless(x: u64, y: u64): v128 {
  let low: u64 = 0;
  let high: u64 = 0;
  for (let i: u32 = 0; i < 64; i++) {
    if (!((y >> i) & 1)) continue;
    low ^= x << i;
    if (i) high ^= x >> (64 - i);
  }
  return i64x2.replace_lane(i64x2.splat(low), 1, high);
}

/** PCLMULQDQ: bit 0 of `control` chooses the half of `a`, bit 4 that of `b`. */
export function sse_pclmulqdq(_cpu: usize, a: v128, b: v128, control: u32): v128 {
  const x = control & 1 ? i64x2.extract_lane(a, 1) : i64x2.extract_lane(a, 0);
  const y = control & 16 ? i64x2.extract_lane(b, 1) : i64x2.extract_lane(b, 0);
  return carryless(x, y);
}
