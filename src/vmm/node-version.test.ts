import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { checkNodeVersion } from './node-version.ts';

describe('the version of Node', () => {
  for (const version of ['24.0.0', '25.1.0', '100.0.0'])
    it(`${version} will do`, () => checkNodeVersion(version));
  for (const version of ['20.20.2', '23.11.0', '8.0.0'])
    it(`${version} is refused`, () =>
      assert.throws(() => checkNodeVersion(version), {
        message: `ring0 needs Node 24 or later; this is ${version}`,
      }));
});
