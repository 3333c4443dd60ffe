#include "kernel.h"

static volatile u8 pages[16][4096];

/** A switch of address spaces: the TLB is flushed, then some pages are touched. */
u64 bench(void) {
  unsigned long cr3;
  u64 result = 0;
  asm volatile("mov %%cr3, %0" : "=r"(cr3));
  for (u32 i = 0; i < 400000; i++) {
    asm volatile("mov %0, %%cr3" : : "r"(cr3) : "memory");
    for (u32 page = 0; page < 16; page++)
      result += ++pages[page][i & 4095];
  }
  return result;
}
