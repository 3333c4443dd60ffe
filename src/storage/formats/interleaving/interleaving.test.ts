import { describe, it } from 'node:test';
import { Random } from '../../blocks/testing.ts';
import { formatNamed } from '../../open.ts';
import { interleave, randomShape } from './testing.ts';

// Many more: npm run fuzz -- qcow2-requests vmdk-requests …
const SEEDS: Readonly<Record<string, number>> = {
  qcow2: 40,
  vdi: 8,
  vpc: 8,
  vhdx: 8,
  vmdk: 8,
  parallels: 8,
  qed: 8,
};

describe('requests side by side, in any order, on a host that fails and loses power', () => {
  for (const [name, seeds] of Object.entries(SEEDS))
    it(`${name}: the disk holds what was written, of ${seeds} seeds`, async () => {
      const format = await formatNamed(name);
      for (let seed = 1; seed <= seeds; seed++)
        await interleave(seed, randomShape(format, new Random(seed)));
    });
});
