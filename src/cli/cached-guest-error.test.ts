import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RequestError } from '#base/errors.ts';
import { cachedGuestError } from './cached-guest-error.ts';
import { parseRunFlags, type RunFlags } from './run-request.ts';

const FLAGS: RunFlags = {
  memory: '256M',
  console: 'none',
  accel: 'auto',
  cpu: 'ring0-v2',
  reboot: true,
  translate: true,
  translationCache: false,
};
const cause = Object.assign(new Error(), { name: 'BootError' });
const cutOff = new RequestError('it is cut off; get it anew', 'kernel', { cause });

describe('an error about the kernel', () => {
  const cases: { name: string; flags: Partial<RunFlags>; message: RegExp }[] = [
    { name: 'the cached guest', flags: {}, message: /^default guest: it is cut off; run `ring0/ },
    { name: 'the 32-bit guest', flags: { guest: '32' }, message: /off; remove guest-32 from/ },
    {
      name: 'a kernel of the user',
      flags: { kernel: 'k' },
      message: /^it is cut off; get it anew/,
    },
  ];
  for (const { name, flags, message } of cases)
    it(`of ${name} says how that is mended`, () => {
      const error = cachedGuestError(cutOff, parseRunFlags({ ...FLAGS, ...flags }));
      assert.match(String((error as Error).message), message);
    });

  const others = [
    new RequestError('no such model', 'cpu', { cause }),
    new RequestError('8 MiB does not fit; give more', 'kernel'),
    new Error('ours'),
  ];
  for (const error of others)
    it(`no other: ${error.message}`, () =>
      assert.equal(cachedGuestError(error, parseRunFlags(FLAGS)), error));

  it('nor one about a kernel on a disk', () =>
    assert.equal(cachedGuestError(cutOff, parseRunFlags(FLAGS, 'disk.img')), cutOff));
});
