import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

// A whole Debian from its disk. Making one takes minutes and root: RING0_DEBIAN names one of `ring0 guest build debian`.

const RING0 = fileURLToPath(new URL('../../bin/ring0.mjs', import.meta.url));
const DISK = process.env['RING0_DEBIAN'];
const PATIENCE_S = 900;

/** What is waited for on the console, and then typed. */
const TALK = [
  { wanted: 'debian login: ', typed: 'root' },
  {
    wanted: '# ',
    typed:
      'yes | head -c 1000000 >y; sync; echo 3 >/proc/sys/vm/drop_caches; sha256sum y; systemctl --failed --no-legend | wc -l',
  },
  // What sha256sum of coreutils gives.
  {
    wanted: 'f893c2c2c50aec163cf36deb88e21b61c336fa93c0482b945337862cffeca280',
    typed: 'poweroff',
  },
] as const;

describe('Debian', { skip: DISK === undefined && 'RING0_DEBIAN names no disk' }, () => {
  it('boots to its login, keeps what is written, and powers off', async () => {
    const args = [RING0, 'run', `${DISK},snapshot`, '-m', '512M', '-t', String(PATIENCE_S)];
    const guest = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    let text = '';
    let step = 0;
    guest.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
      const next = TALK[step];
      if (next === undefined || !text.includes(next.wanted)) return;
      step++;
      text = '';
      guest.stdin.write(`${next.typed}\n`);
    });
    const [status] = await once(guest, 'exit');
    assert.deepEqual([status, step], [0, TALK.length]);
  });
});
