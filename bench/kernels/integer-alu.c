#include "kernel.h"

u64 bench(void) {
  u32 a = 1, b = 2, c = 3, d = 4;
  for (u32 i = 0; i < 200000000; i++) {
    a ^= a << 13;
    a ^= a >> 17;
    a ^= a << 5;
    b += a ^ c;
    c = (c << 7 | c >> 25) + b;
    d -= c & i;
    b |= d >> 3;
  }
  return (u64)(a ^ b) << 32 | (c ^ d);
}
