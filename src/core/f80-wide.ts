// Integers of 128 bits, as far as significands need them.

const LOW: u64 = 0xffff_ffff;
const BASE: u64 = 0x1_0000_0000;

/** Upper half of the product; the lower is `a * b`. */
export function mulHigh(a: u64, b: u64): u64 {
  const a0 = a & LOW;
  const a1 = a >> 32;
  const b0 = b & LOW;
  const b1 = b >> 32;
  const mid = a1 * b0 + ((a0 * b0) >> 32);
  const mid2 = a0 * b1 + (mid & LOW);
  return a1 * b1 + (mid >> 32) + (mid2 >> 32);
}

/** One digit of 32 bits of (high:digit) / divisor; `high` < `divisor`, whose top bit is set. */
function digit(high: u64, next: u64, divisor: u64): u64 {
  const d1 = divisor >> 32;
  const d0 = divisor & LOW;
  let q = high / d1;
  let rest = high - q * d1;
  while (q >= BASE || q * d0 > ((rest << 32) | next)) {
    q--;
    rest += d1;
    if (rest >= BASE) break;
  }
  return q;
}

/** (high:low) / divisor; `high` < `divisor`, whose top bit is set. The remainder is `low - quotient * divisor`. */
export function divide128(high: u64, low: u64, divisor: u64): u64 {
  const q1 = digit(high, low >> 32, divisor);
  const rest = ((high << 32) | (low >> 32)) - q1 * divisor;
  const q0 = digit(rest, low & LOW, divisor);
  return (q1 << 32) | q0;
}

/** Root of high:0, rounded down; `high` has one of its upper two bits set, so that the root has 64 bits. */
export function root128(high: u64): u64 {
  // 53 bits from the host, then one step of Newton's in 128 bits, then what is left to the last unit.
  const estimate = sqrt<f64>(<f64>high) * 4294967296.0;
  let root: u64 = estimate >= 18446744073709551615.0 ? 0xffff_ffff_ffff_ffff : <u64>estimate;
  const square = root * root;
  const above = high - mulHigh(root, root) - u64(square != 0);
  const rest = <f64>(<i64>above) * 18446744073709551616.0 + <f64>(~square + 1);
  const step = <i64>(rest / (2.0 * <f64>root));
  root = saturatingAdd(root, step);
  while (squareExceeds(root, high)) root--;
  while (root != 0xffff_ffff_ffff_ffff && !squareExceeds(root + 1, high)) root++;
  return root;
}

function saturatingAdd(a: u64, b: i64): u64 {
  const sum = a + <u64>b;
  return b > 0 && sum < a ? 0xffff_ffff_ffff_ffff : sum;
}

function squareExceeds(root: u64, high: u64): bool {
  const upper = mulHigh(root, root);
  return upper > high || (upper == high && root * root != 0);
}

/** The lower of two words shifted right together, `count` 1-127; bits that fall out stay as a lowest bit of 1. */
export function shiftLow(high: u64, low: u64, count: u32): u64 {
  if (count < 64) return (high << (64 - count)) | (low >> count) | u64(low << (64 - count) != 0);
  if (count == 64) return high | u64(low != 0);
  return (high >> (count - 64)) | u64(((high << (128 - count)) | low) != 0);
}
