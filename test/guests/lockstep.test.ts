import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

// The beginning of a boot of the default guest, both tiers in lockstep: from the kernel's first instruction until it has
// run for this long, which is what two seconds of a boot are without the comparisons, or until the shell is there.

const RING0 = fileURLToPath(new URL('../../bin/ring0.mjs', import.meta.url));
const SECONDS = 20;
const STATUS_TIMEOUT = 124;
const PATIENCE_MS = 600_000;
/** That much is done even where the host is busy with other things. */
const LEAST_INSTRUCTIONS = 1_000_000;

describe('a boot in lockstep', { timeout: PATIENCE_MS }, () => {
  it(`has no difference in ${SECONDS} s`, async () => {
    // Anew each time: the code that is kept of other runs is that of ordinary ones.
    const flags = ['--verify', '--no-translation-cache', '--timeout', `${SECONDS}`];
    const guest = spawn(process.execPath, [RING0, 'run', ...flags], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let errors = '';
    guest.stderr.on('data', (chunk: Buffer) => {
      errors += chunk.toString();
    });
    const [status] = (await once(guest, 'close')) as [number | null];
    assert.equal(status, STATUS_TIMEOUT, errors);
    const compared = /compared (\d+) runs of translated code, (\d+) instructions/.exec(errors);
    assert.ok(Number(compared?.[2]) > LEAST_INSTRUCTIONS, errors);
  });
});
