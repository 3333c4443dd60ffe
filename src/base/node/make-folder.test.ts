import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { makeFolder } from './make-folder.ts';

describe('makeFolder', () => {
  const top = mkdtempSync(path.join(os.tmpdir(), 'ring0-folder-'));
  after(() => rmSync(top, { recursive: true }));

  it('makes what is missing, and nothing of what is there', () => {
    const folder = path.join(top, 'a', 'b', 'c');
    makeFolder(folder, 0o700);
    makeFolder(folder, 0o755);
    assert.equal(statSync(folder).mode & 0o777, 0o700);
  });

  it('fails below a file', () => {
    writeFileSync(path.join(top, 'file'), '');
    assert.throws(() => makeFolder(path.join(top, 'file', 'a')), { code: 'ENOTDIR' });
  });

  it('fails, and comes back, where folders cannot be made', {
    skip: os.platform() !== 'linux',
  }, () => {
    assert.throws(() => makeFolder('/proc/ring0/a'), { code: 'ENOENT' });
  });
});
