import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import process from 'node:process';
import { PassThrough } from 'node:stream';
import { after, it } from 'node:test';
import { noise } from '#storage/testing.ts';
import { main } from '../main.ts';

const dir = mkdtempSync(path.join(tmpdir(), 'ring0-appliance-'));
after(() => rmSync(dir, { recursive: true }));
const at = (name: string): string => path.join(dir, name);

async function ring0(...args: string[]): Promise<{ status: number; text: string }> {
  let text = '';
  const stream = new PassThrough();
  stream.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  const status = await main(['appliance', ...args], {
    env: {},
    stdin: new PassThrough(),
    stdout: stream,
    stderr: stream,
    createVm: () => Promise.reject(new Error('no VM is wanted here')),
    explain: () => {
      throw new Error('nothing is to be explained here');
    },
  });
  return { status, text };
}

it('a machine goes out and comes in again', async () => {
  const disk = new Uint8Array(3 << 20);
  disk.set(noise(100_000, 1), 1 << 20);
  writeFileSync(at('disk.raw'), disk);
  const flags = ['--memory', '2G', '--cpus', '2', '-f', 'raw'];
  assert.deepEqual(await ring0('export', at('m.ova'), at('disk.raw'), ...flags), {
    status: 0,
    text: '',
  });
  const info = await ring0('info', at('m.ova'));
  assert.equal(info.status, 0, info.text);
  assert.match(info.text, /machine: m\nprocessors: 2\nmemory: 2 GiB\ndisk disk1: 3 MiB, vmdk in/);
  assert.match(info.text, /manifest: all files are as they were made/);
  const taken = await ring0('import', at('m.ova'), '-o', dir, '-O', 'raw');
  assert.equal(taken.status, 0, taken.text);
  assert.deepEqual(new Uint8Array(readFileSync(at('m-disk1.raw'))), disk);
});

it('a damaged package leaves nothing, and is said to be so', async () => {
  const bytes = readFileSync(at('m.ova'));
  writeFileSync(at('bad.ova'), bytes.fill(1, 80_000, 80_010));
  const before = readdirSync(dir);
  const { status, text } = await ring0('import', at('bad.ova'), '-o', dir, '-O', 'vdi');
  assert.equal(status, 1);
  assert.match(text, /bad\.ova.*was changed or damaged/);
  assert.deepEqual(readdirSync(dir), before);
});

it('an unpacked package is checked too, by its name alone, and comes into a new folder', async () => {
  const folder = at('unpacked');
  mkdirSync(folder);
  assert.equal(spawnSync('tar', ['xf', at('m.ova'), '-C', folder]).status, 0);
  const here = process.cwd();
  process.chdir(folder);
  try {
    assert.match((await ring0('info', 'm.ovf')).text, /manifest: all files are as they were made/);
    const { status, text } = await ring0('import', 'm.ovf', '-o', 'new/one', '-O', 'raw');
    assert.equal(status, 0, text);
    assert.deepEqual(readFileSync('new/one/m-disk1.raw'), readFileSync(at('disk.raw')));
    writeFileSync('m.mf', readFileSync('m.mf', 'utf8').replace(/= ./, '= x'));
    assert.equal((await ring0('info', 'm.ovf')).status, 1);
  } finally {
    process.chdir(here);
  }
});
