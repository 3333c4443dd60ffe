import assert from 'node:assert/strict';
import { it } from 'node:test';
import { processHost } from './host.ts';

it('prints without the stream until there is one, which may have more to write', () => {
  const host = processHost();
  assert.equal(host.printNow?.(Buffer.from('\n')), 1);
  assert.ok(host.stdout);
  assert.equal(host.printNow?.(Buffer.from('\n')), 0);
});
