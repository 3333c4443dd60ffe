// A target for each format that is written to: requests side by side, on a host that fails and loses power.
import { Random } from '#storage/blocks/testing.ts';
import { interleave, randomShape } from '#storage/formats/interleaving/testing.ts';
import { allFormats } from '#storage/open.ts';
import type { Target } from './images.ts';

/** A raw disk has no tables whose order could matter. */
export const REQUEST_TARGETS: readonly Target[] = (await allFormats())
  .filter(({ name, create }) => create !== undefined && name !== 'raw')
  .map((format) => ({
    name: `${format.name}-requests`,
    run: async (seed, rounds) => {
      for (let round = 0; round < rounds; round++) {
        const one = seed * rounds + round;
        await interleave(one, randomShape(format, new Random(one)));
      }
      return { opened: rounds, refused: 0 };
    },
  }));
