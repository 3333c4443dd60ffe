#include "kernel.h"

enum { WORDS = 8 << 20 >> 3 };
static u64 memory[WORDS];

u64 bench(void) {
  u64 random = 1, result = 0;
  for (u32 i = 0; i < 10000000; i++) {
    random = random * 6364136223846793005 + 1442695040888963407;
    memory[random >> 44] += random;
  }
  for (u32 i = 0; i < WORDS; i++)
    result = result * 31 + memory[i];
  return result;
}
