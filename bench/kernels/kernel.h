#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

/** What a kernel measures. The result is printed and must be the same everywhere. */
u64 bench(void);

/** Text to whoever holds the clock: the debug port of a guest, standard output of a process. */
void put(const char *text, u64 length);

/** Keeps a function apart from its callers: the call is what is measured. */
#define APART __attribute__((noipa))

static inline u32 next_random(u32 *state) {
  return *state = *state * 1664525u + 1013904223u;
}
