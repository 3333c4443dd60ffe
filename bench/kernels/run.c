#include "kernel.h"

/** The lines that the harness sets its clock by. */
void run(void) {
  char end[] = "end 0123456789abcdef\n";
  put("begin\n", 6);
  u64 result = bench();
  for (int i = 0; i < 16; i++)
    end[4 + i] = "0123456789abcdef"[result >> (60 - 4 * i) & 15];
  put(end, sizeof end - 1);
}
