#include "kernel.h"

enum { SIZE = 1 << 16 };
static u8 from[SIZE], to[SIZE + 64];

static inline void copy_bytes(void *d, const void *s, unsigned long n) {
  asm volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
}

static inline void copy_words(void *d, const void *s, unsigned long n) {
#ifdef __x86_64__
  n /= 8;
  asm volatile("rep movsq" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
#else
  n /= 4;
  asm volatile("rep movsl" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
#endif
}

/** Lengths as memcpy sees them, short and long, aligned and not. */
u64 bench(void) {
  static const u16 lengths[8] = {24, 64, 100, 256, 1000, 4096, 16384, 40000};
  u32 random = 1;
  u64 result = 0;
  for (u32 i = 0; i < SIZE; i++)
    from[i] = next_random(&random) >> 24;
  for (u32 i = 0; i < 96000; i++) {
    u32 x = next_random(&random) >> 16, length = lengths[i & 7];
    if (i & 8)
      copy_bytes(to + (x & 63), from + (x >> 6 & 1023), length);
    else
      copy_words(to + (x & 56), from + (x >> 6 & 1016), length);
    result = result * 31 + to[x % SIZE];
  }
  return result;
}
