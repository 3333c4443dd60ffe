import type { Lift } from '../lifter.ts';
import { SSE_FLOAT_LIFTS } from './sse-float.ts';
import { SSE_INTEGER_LIFTS } from './sse-integer.ts';
import { SSE_MOVE_LIFTS } from './sse-move.ts';
import { SSE_SHUFFLE_LIFTS } from './sse-shuffle.ts';
import { SSE_STRING_LIFTS } from './sse-string.ts';

/** SSE to SSE4.2; those of packed integers serve MMX too. */
export const SSE_LIFTS: Record<string, Lift> = {
  ...SSE_MOVE_LIFTS,
  ...SSE_SHUFFLE_LIFTS,
  ...SSE_INTEGER_LIFTS,
  ...SSE_FLOAT_LIFTS,
  ...SSE_STRING_LIFTS,
};
