#include "kernel.h"

typedef float v4 __attribute__((vector_size(16)));

enum { BODIES = 64, GROUPS = BODIES / 4, STEPS = 6000 };

static v4 position[3][GROUPS], velocity[3][GROUPS], mass[GROUPS];

static v4 all(float x) { return (v4){x, x, x, x}; }

static void place(void) {
  u32 random = 1;
  for (int i = 0; i < BODIES; i++) {
    mass[i / 4][i % 4] = 1.0f / (1 + i);
    for (int k = 0; k < 3; k++)
      position[k][i / 4][i % 4] = (float)(next_random(&random) >> 16) / 6553.6f;
  }
}

/** The pull of every body on the four of a group. */
static void pull(int group, v4 dt) {
  v4 pulled[3] = {velocity[0][group], velocity[1][group], velocity[2][group]};
  for (int j = 0; j < BODIES; j++) {
    v4 d[3], square = all(0.01f);
    for (int k = 0; k < 3; k++) {
      d[k] = all(position[k][j / 4][j % 4]) - position[k][group];
      square += d[k] * d[k];
    }
    v4 magnitude = dt * all(mass[j / 4][j % 4]) / (square * __builtin_ia32_sqrtps(square));
    for (int k = 0; k < 3; k++)
      pulled[k] += d[k] * magnitude;
  }
  for (int k = 0; k < 3; k++)
    velocity[k][group] = pulled[k];
}

u64 bench(void) {
  u32 bits;
  u64 result = 0;
  v4 dt = all(0.001f);
  place();
  for (int i = 0; i < STEPS; i++) {
    for (int group = 0; group < GROUPS; group++)
      pull(group, dt);
    for (int group = 0; group < GROUPS; group++)
      for (int k = 0; k < 3; k++)
        position[k][group] += dt * velocity[k][group];
  }
  for (int i = 0; i < BODIES; i++) {
    float x = position[i % 3][i / 4][i % 4];
    __builtin_memcpy(&bits, &x, sizeof bits);
    result = result * 31 + bits;
  }
  return result;
}
