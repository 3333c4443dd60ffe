#include "kernel.h"

u64 bench(void) {
  u64 a = 0x9e3779b97f4a7c15, b = 1, sum = 0;
  for (u32 i = 1; i < 100000000; i++) {
    unsigned __int128 product = (unsigned __int128)a * (b | 1);
    a = (u64)product ^ (u64)(product >> 64);
    b += a >> (i & 31);
    sum += a / (b >> 32 | 1) + ((long long)b >> 7) * 5;
  }
  return a ^ b ^ sum;
}
