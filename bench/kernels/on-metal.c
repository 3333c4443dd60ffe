#include "kernel.h"

#ifndef CONSOLE_PORT
#define CONSOLE_PORT 0xe9
#endif

void put(const char *text, u64 length) {
  for (u64 i = 0; i < length; i++)
    asm volatile("outb %0, %1" : : "a"(text[i]), "d"((u16)CONSOLE_PORT));
}
