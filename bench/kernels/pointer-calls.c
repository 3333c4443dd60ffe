#include "kernel.h"

static APART u32 f0(u32 x) { return x + 1; }
static APART u32 f1(u32 x) { return x ^ 0x55; }
static APART u32 f2(u32 x) { return x * 3; }
static APART u32 f3(u32 x) { return x >> 1; }
static APART u32 f4(u32 x) { return x - 7; }
static APART u32 f5(u32 x) { return ~x; }
static APART u32 f6(u32 x) { return x << 2 | 1; }
static APART u32 f7(u32 x) { return x | 0x100; }

static u32 (*volatile const table[8])(u32) = {f0, f1, f2, f3, f4, f5, f6, f7};

u64 bench(void) {
  u32 random = 1, x = 0;
  for (u32 i = 0; i < 40000000; i++)
    x = table[next_random(&random) >> 29](x);
  return x;
}
