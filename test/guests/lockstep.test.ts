import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { DEFAULT_GUEST_APPEND } from '#guests/default-append.ts';

// The beginning of a boot of the default guest, both tiers in lockstep: from the kernel's first instruction until it has
// run for this long, which is what two seconds of a boot are without the comparisons, or until the shell is there.

const RING0 = fileURLToPath(new URL('../../bin/ring0.mjs', import.meta.url));
const SECONDS = 20;
const PATIENCE_MS = 600_000;
/** That much is done even where the host is busy with other things. */
const LEAST_INSTRUCTIONS = 1_000_000;
/**
 * Until Linux takes the TSC as its clock it counts the interrupts of --disturb as ticks, and time flies: what it says of code that
 * holds a processor for long means nothing then.
 */
const UNWATCHED = ['--append', `${DEFAULT_GUEST_APPEND} nosoftlockup`];
/** What Linux says when it has handled interrupts for a while. */
const IS_UP = 'audit: ';

/** Runs the default guest for at least `SECONDS`, and until it says `awaited`. */
async function boot(flags: readonly string[], awaited = ''): Promise<string> {
  // Anew each time: the code that is kept of other runs is that of ordinary ones.
  const common = ['--no-translation-cache', '--timeout', `${PATIENCE_MS / 1000}`];
  const guest = spawn(process.execPath, [RING0, 'run', ...common, ...flags], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  let errors = '';
  let isTime = false;
  const look = (): void => {
    if (isTime && output.includes(awaited)) guest.kill('SIGINT');
  };
  guest.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
    look();
  });
  guest.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  const timer = setTimeout(() => {
    isTime = true;
    look();
  }, SECONDS * 1000);
  const [status] = (await once(guest, 'close')) as [number | null];
  clearTimeout(timer);
  assert.equal(status, 128 + 2, errors + output.slice(-2000));
  assert.doesNotMatch(output, /BUG:|Oops|Kernel panic/);
  return errors;
}

describe('a boot in lockstep', { timeout: PATIENCE_MS }, () => {
  it(`has no difference in ${SECONDS} s`, async () => {
    const errors = await boot(['--verify']);
    const compared = /compared (\d+) runs of translated code, (\d+) instructions/.exec(errors);
    assert.ok(Number(compared?.[2]) > LEAST_INSTRUCTIONS, errors);
  });

  const seed = process.env['RING0_SEED'] ?? `${Math.floor(Math.random() * 1e9)}`;
  it(`and none when it is disturbed at random, seed ${seed}`, async () => {
    const errors = await boot(['--verify', '--disturb', seed, ...UNWATCHED], IS_UP);
    const counts = /--disturb: (\d+) interrupts, (\d+) page faults, (\d+) TLB flushes, (\d+) pages/;
    const [, ...done] = counts.exec(errors) ?? [];
    assert.equal(done.length, 4, errors);
    for (const count of done) assert.ok(Number(count) > 100, errors);
  });
});
