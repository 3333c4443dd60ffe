#include "kernel.h"

void put(const char *text, u64 length) {
  for (u64 i = 0; i < length; i++)
    asm volatile("outb %0, %1" : : "a"(text[i]), "Nd"((u16)0xe9));
}
