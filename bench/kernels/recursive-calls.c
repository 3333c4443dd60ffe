#include "kernel.h"

static APART u32 fibonacci(u32 n) {
  return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

u64 bench(void) {
  return fibonacci(39);
}
