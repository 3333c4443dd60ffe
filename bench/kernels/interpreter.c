#include "kernel.h"

enum { LOAD, ADD, XOR, SHIFT, DECREMENT, BRANCH, STORE, JUMP, STOP };

/** Counts r0 down, and mixes r1 and r2; the volatile keeps it from being folded. */
static volatile const u8 program[] = {
    LOAD, 1, 7, LOAD, 2, 9,                                    // 0
    ADD,  1, 2, XOR,  2, 1, SHIFT, 2, 3, ADD, 2, 0, JUMP, 21, 0, // 6
    STORE, 3, 1, XOR, 1, 2, DECREMENT, 0, 0, BRANCH, 0, 6, STOP, 0, 0};

u64 bench(void) {
  u32 r[4] = {10000000, 0, 0, 0};
  u32 pc = 0;
  for (;;) {
    u8 op = program[pc], a = program[pc + 1] & 3, b = program[pc + 2];
    pc += 3;
    switch (op) {
    case LOAD: r[a] = b; break;
    case ADD: r[a] += r[b & 3]; break;
    case XOR: r[a] ^= r[b & 3]; break;
    case SHIFT: r[a] = r[a] << b | r[a] >> (32 - b); break;
    case DECREMENT: r[a]--; break;
    case BRANCH: if (r[a] != 0) pc = b; break;
    case STORE: r[a] = r[b & 3] >> 1; break;
    case JUMP: pc = program[pc - 2]; break;
    default: return (u64)r[1] << 32 | r[2];
    }
  }
}
