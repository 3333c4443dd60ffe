#include "kernel.h"

// Compiled once for x87 and once for SSE; STEPS comes from the command line, as x87 is far slower in an emulator.
enum { BODIES = 5 };

static double position[BODIES][3], velocity[BODIES][3], mass[BODIES];

/** A table of start values would do as well: what counts is that all stays finite and apart. */
static void place(void) {
  for (int i = 0; i < BODIES; i++) {
    mass[i] = 1.0 / (1 + i * i * 100);
    for (int k = 0; k < 3; k++) {
      position[i][k] = i * (k == i % 3 ? 6.5 : 1.25);
      velocity[i][k] = i == 0 ? 0 : 0.3 / (i + k + 1);
    }
  }
}

static void step(double dt) {
  for (int i = 0; i < BODIES; i++) {
    for (int j = i + 1; j < BODIES; j++) {
      double d[3], square = 0;
      for (int k = 0; k < 3; k++) {
        d[k] = position[i][k] - position[j][k];
        square += d[k] * d[k];
      }
      double magnitude = dt / (square * __builtin_sqrt(square));
      for (int k = 0; k < 3; k++) {
        velocity[i][k] -= d[k] * mass[j] * magnitude;
        velocity[j][k] += d[k] * mass[i] * magnitude;
      }
    }
  }
  for (int i = 0; i < BODIES; i++)
    for (int k = 0; k < 3; k++)
      position[i][k] += dt * velocity[i][k];
}

u64 bench(void) {
  u64 bits, result = 0;
  place();
  for (int i = 0; i < STEPS; i++)
    step(0.001);
  for (int i = 0; i < BODIES; i++) {
    __builtin_memcpy(&bits, &position[i][i % 3], sizeof bits);
    result = result * 31 + bits;
  }
  return result;
}
