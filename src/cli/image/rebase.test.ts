import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { type Outcome, ring0Image } from './testing.ts';

const dir = mkdtempSync(path.join(tmpdir(), 'ring0-rebase-'));
after(() => rmSync(dir, { recursive: true }));
const at = (name: string): string => path.join(dir, name);

async function ring0(...args: readonly string[]): Promise<void> {
  const { status, stderr } = await ring0Image(...args);
  assert.equal(status, 0, stderr);
}

/** An image whose parent was written to since, as by a commit that was killed, and another one. */
async function makeStale(format: string): Promise<{ parent: string; other: string; top: string }> {
  const [parent, other, top] = ['parent', 'other', 'top'].map((name) => at(`${name}.${format}`));
  assert.ok(parent !== undefined && other !== undefined && top !== undefined);
  for (const file of [parent, other, top]) rmSync(file, { force: true });
  await ring0('create', '-q', '-f', format, parent, '4M');
  await ring0('create', '-q', '-f', format, '-b', path.basename(parent), '-F', format, top);
  await ring0('bench', '-w', '-c', '1', '-f', format, parent);
  await ring0('create', '-q', '-f', format, other, '4M');
  return { parent, other, top };
}

const unsafely = (backingFormat: string, backing: string, top: string): Promise<Outcome> =>
  ring0Image('rebase', '-u', '-b', path.basename(backing), '-F', backingFormat, top);

/** The name of `top` with another image in the place of its parent. */
function standIn(top: string, other: string): string {
  const driver = path.extname(top).slice(1);
  const backing = { driver, 'file.filename': other };
  return `json:${JSON.stringify({ driver, 'file.filename': top, backing })}`;
}

describe('ring0 image rebase -u', () => {
  for (const format of ['vmdk', 'vdi', 'vhdx'])
    it(`accepts a parent as it is now, and no other: ${format}`, async () => {
      const { parent, other, top } = await makeStale(format);
      const refused = await ring0Image('compare', parent, top);
      assert.match(refused.stderr, /was changed after .* accept it as it is with rebase -u/);
      assert.match((await unsafely(format, other, top)).stderr, /keep their backing file's name/);
      assert.match((await unsafely('raw', parent, top)).stderr, /is \w+, not raw/);
      assert.match((await unsafely(format, other, standIn(top, other))).stderr, /keep their/);
      assert.notEqual((await ring0Image('compare', parent, top)).status, 0);
      await ring0('rebase', '-u', '-b', path.basename(parent), '-F', format, top);
      await ring0('compare', parent, top);
    });

  it('takes no other image for the parent while that is as it was: vhdx', async () => {
    const { parent, other, top } = await makeStale('vhdx');
    mkdirSync(at('below'));
    const named = at('below/moved.vhdx');
    renameSync(parent, named);
    rmSync(top);
    await ring0('create', '-q', '-f', 'vhdx', '-b', 'below/moved.vhdx', '-F', 'vhdx', top);
    renameSync(named, at('moved.vhdx'));
    renameSync(other, named);
    const before = readFileSync(top);
    const outcome = await ring0Image('rebase', '-u', '-b', 'below/moved.vhdx', '-F', 'vhdx', top);
    assert.match(outcome.stderr, /keep their backing file's name/);
    assert.deepEqual(readFileSync(top), before);
    await ring0('compare', at('moved.vhdx'), top);
  });

  it('cannot change the name where the format keeps that', async () => {
    const { parent, top } = await makeStale('vdi');
    for (const args of [
      ['-u', '-b', ''],
      ['-b', parent, '-F', 'vdi'],
    ])
      assert.notEqual((await ring0Image('rebase', ...args, top)).status, 0);
    await ring0('create', '-q', '-f', 'vpc', at('p.vpc'), '4M');
    const plain = await ring0Image('rebase', '-u', '-b', parent, '-F', 'vdi', at('p.vpc'));
    assert.match(plain.stderr, /vpc images keep their backing file's name/);
  });
});
