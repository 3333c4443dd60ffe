import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { Writable } from 'node:stream';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const RING0 = path.join(ROOT, 'bin/ring0');
const BUNDLE = path.join(ROOT, 'build/image.bundle');

describe('the command', { timeout: 120_000 }, () => {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'ring0-command-'));
  after(() => rmSync(dir, { recursive: true }));
  before(() => {
    const made = spawnSync(process.execPath, ['tools/build-image-command.ts'], {
      cwd: ROOT,
      stdio: 'inherit',
    });
    assert.equal(made.status, 0);
  });

  const run = (command: string, ...args: string[]) =>
    spawnSync(command, args, { cwd: dir, encoding: 'utf8' });

  it('is found through a link, and passes arguments and status on', () => {
    const link = path.join(dir, 'ring0');
    symlinkSync(RING0, link);
    assert.equal(run(link, '--version').status, 0);
    const { status, stderr } = run(link, 'image', 'info', "it's none");
    assert.deepEqual([status, stderr], [1, "ring0: it's none: no such file\n"]);
  });

  it('runs the code that V8 made of its script at build time', () => {
    const hook = path.join(dir, 'hook.cjs');
    writeFileSync(
      hook,
      `const vm = require('node:vm');
      vm.Script = class extends vm.Script {
        constructor(...args) {
          super(...args);
          require('node:fs').writeSync(2, 'rejected: ' + this.cachedDataRejected);
        }
      };`,
    );
    const env = { ...process.env, NODE_OPTIONS: `--require ${hook}` };
    const args = ['image', 'create', '-q', 'disk', '1M'];
    const { stderr } = spawnSync(RING0, args, { cwd: dir, env, encoding: 'utf8' });
    assert.equal(stderr, 'rejected: false');
  });

  it('loads nothing that starts processes where none is needed', () => {
    const hook = path.join(dir, 'loaded.cjs');
    writeFileSync(
      hook,
      `process.on('exit', () => {
        require('node:fs').writeSync(2, 'loaded: ' + process.moduleLoadList.includes('NativeModule child_process'));
      });`,
    );
    const env = { ...process.env, NODE_OPTIONS: `--require ${hook}` };
    writeFileSync(path.join(dir, 'full'), new Uint8Array(1 << 20).fill(1));
    const args = ['image', 'convert', '-f', 'raw', '-O', 'qcow2', 'full', 'copy'];
    const { status, stderr } = spawnSync(RING0, args, { cwd: dir, env, encoding: 'utf8' });
    assert.deepEqual([status, stderr], [0, 'loaded: false']);
  });

  it('does without sources, and leaves its script when there are others', () => {
    const packed = path.join(dir, 'packed');
    cpSync(path.join(ROOT, 'bin'), path.join(packed, 'bin'), { recursive: true });
    cpSync(BUNDLE, path.join(packed, 'build/image.bundle'));
    symlinkSync(path.join(ROOT, 'node_modules'), path.join(packed, 'node_modules'));
    const create = () => run(path.join(packed, 'bin/ring0'), 'image', 'create', '-q', 'disk', '1M');
    assert.deepEqual([create().status, existsSync(path.join(dir, 'disk'))], [0, true]);
    const startsSources = () => assert.match(create().stderr, /Cannot find module/);
    mkdirSync(path.join(packed, 'src'));
    startsSources();
    // Another version's.
    writeFileSync(path.join(packed, 'build/image.bundle'), "(function () { 'use strict'; })");
    startsSources();
  });

  it('ends when all its output has gone out, or was lost', () => {
    const bytes = new Uint8Array(256 << 20);
    for (let at = 0; at < bytes.length; at += 128 << 10) bytes[at] = 1;
    writeFileSync(path.join(dir, 'many'), bytes);
    assert.equal(run(RING0, 'image', 'convert', '-O', 'qcow2', 'many', 'many.qcow2').status, 0);
    const inShell = (line: string) => run('sh', '-c', line);
    const map = `${RING0} image map --output json many.qcow2`;
    inShell(`${map} > map`);
    const whole = readFileSync(path.join(dir, 'map'), 'utf8');
    assert.ok(whole.length > 128 << 10, 'more than a pipe holds');
    assert.equal(inShell(`${map} | (sleep 1; cat)`).stdout, whole);
    assert.equal(inShell(`${map} > /dev/full`).status, 1);
  });

  it('hears a signal while a full pipe takes nothing that it prints', () => {
    writeFileSync(path.join(dir, 'small'), new Uint8Array(512));
    const info = `timeout --preserve-status 1 ${RING0} image info -f raw small`;
    const line = `{ head -c 65536 /dev/zero; ${info}; echo $? >&2; } | sleep 3`;
    assert.equal(run('sh', '-c', line).stderr, '143\n');
  });

  it('ends by Ctrl-C, and leaves no half file', async () => {
    writeFileSync(path.join(dir, 'source'), new Uint8Array(8 << 20).fill(1));
    const args = ['image', 'convert', '-p', '-r', '1M', 'source', 'target'];
    const copying = spawn(RING0, args, { cwd: dir, stdio: ['ignore', 'pipe', 'inherit'] });
    await once(copying.stdout, 'data');
    copying.kill('SIGINT');
    assert.deepEqual(await once(copying, 'exit'), [130, null]);
    assert.equal(existsSync(path.join(dir, 'target')), false);
  });

  it('names the sources where it fails', async () => {
    const { openBundle, runBundle } = createRequire(import.meta.url)('./start.cjs');
    const bundle = runBundle(openBundle());
    let said = '';
    const stderr = new Writable({
      write: (chunk, _encoding, done) => {
        said += chunk;
        done();
      },
    });
    writeFileSync(path.join(dir, 'raw'), new Uint8Array(512));
    const args = ['image', 'info', '-f', 'raw', path.join(dir, 'raw')];
    assert.equal(await bundle.main(args, { env: {}, stdout: undefined, stderr }), 70);
    const [, file = '', line] = /\((src\/cli\/\S+\.ts):(\d+):\d+\)/.exec(said) ?? [];
    const failing = readFileSync(path.join(ROOT, file), 'utf8').split('\n')[Number(line) - 1];
    assert.match(failing ?? '', /stdout\.write/, said);
  });
});
