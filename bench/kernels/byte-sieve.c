#include "kernel.h"

enum { SIZE = 1 << 20 };
static u8 composite[SIZE];

u64 bench(void) {
  u64 primes = 0;
  for (u32 round = 0; round < 100; round++) {
    for (u32 i = 0; i < SIZE; i++)
      composite[i] = 0;
    for (u32 i = 2; i < SIZE; i++) {
      if (composite[i])
        continue;
      primes++;
      for (u32 j = i + i; j < SIZE; j += i)
        composite[j] = 1;
    }
  }
  return primes;
}
