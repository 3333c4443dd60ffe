#include "kernel.h"

enum { SIZE = 1 << 16 };
static u32 table[256];
static u8 data[SIZE];

u64 bench(void) {
  u32 random = 1, crc = ~0u;
  for (u32 i = 0; i < 256; i++) {
    u32 c = i;
    for (u32 k = 0; k < 8; k++)
      c = c & 1 ? c >> 1 ^ 0xedb88320 : c >> 1;
    table[i] = c;
  }
  for (u32 i = 0; i < SIZE; i++)
    data[i] = next_random(&random) >> 24;
  for (u32 round = 0; round < 2000; round++)
    for (u32 i = 0; i < SIZE; i++)
      crc = table[(u8)(crc ^ data[i])] ^ crc >> 8;
  return ~crc;
}
