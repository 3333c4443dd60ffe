#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "kernel.h"

void run(void);

static struct timespec last;

void put(const char *text, u64 length) {
  clock_gettime(CLOCK_MONOTONIC, &last);
  if (write(STDOUT_FILENO, text, length) != (ssize_t)length)
    _exit(1);
}

/** A process has a clock to be trusted, and may be over too soon for the harness's. */
int main(void) {
  struct timespec start;
  clock_gettime(CLOCK_MONOTONIC, &start);
  run();
  printf("took %lld ns\n",
         (last.tv_sec - start.tv_sec) * 1000000000LL + last.tv_nsec - start.tv_nsec);
  return 0;
}
