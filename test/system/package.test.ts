import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { smallKernel } from '../guests/small-kernel.ts';

// The package as its users get it: packed, installed without a network, imported by a script outside the checkout.

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const missing = ['npm', 'as', 'ld'].filter((tool) => spawnSync(tool, ['--version']).status !== 0);
const skip = missing.length > 0 ? `no ${missing.join(', ')}` : false;

const KERNEL = `_start: mov $'o', %al
  out %al, $0xe9
  mov $'k', %al
  out %al, $0xe9
  mov $4, %al
  out %al, $0xf4
  hlt
`;

const SCRIPT = `import { readFileSync } from 'node:fs';
import { createVm, RequestError, type VmConfig, type VmExit } from 'ring0';

const config: VmConfig = {
  kernel: readFileSync('kernel'),
  memoryBytes: 8 << 20,
  append: '',
  cpuModel: 'ring0-v2',
  accel: 'software',
  noReboot: true,
  stats: false,
};
const wrong: unknown = await createVm({ ...config, cpuModel: 'none' }).catch((error) => error);
if (!(wrong instanceof RequestError) || wrong.field !== 'cpu') throw wrong;
const vm = await createVm(config);
let text = '';
vm.console.onOutput((bytes) => {
  text += Buffer.from(bytes).toString();
});
const exit: VmExit = await vm.run();
await vm.stop();
process.stdout.write(text + ' ' + JSON.stringify(exit));
`;

describe('the npm package', { timeout: 240_000, skip }, () => {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'ring0-package-'));
  const user = path.join(dir, 'user');
  after(() => rmSync(dir, { recursive: true }));

  function run(command: string, args: readonly string[], cwd: string): string {
    const result = spawnSync(command, args, { cwd, encoding: 'utf8' });
    assert.equal(
      result.status,
      0,
      `${command} ${args.join(' ')}: ${result.stdout}${result.stderr}`,
    );
    return result.stdout;
  }

  before(() => {
    run('npm', ['pack', '--silent', '--pack-destination', dir], ROOT);
    const archive = readdirSync(dir).find((name) => name.endsWith('.tgz')) ?? '';
    mkdirSync(user);
    writeFileSync(path.join(user, 'package.json'), '{ "type": "module" }');
    writeFileSync(path.join(user, 'kernel'), smallKernel(KERNEL));
    writeFileSync(path.join(user, 'boot.ts'), SCRIPT);
    // What it depends on comes from the checkout.
    const needed = ['commander', '@rgrove/parse-xml'].map((name) =>
      path.join(ROOT, 'node_modules', name),
    );
    const flags = ['--offline', '--no-audit', '--no-fund', '--omit=optional', '--silent'];
    run('npm', ['install', ...flags, ...needed, path.join(dir, archive)], user);
  });

  it('boots a kernel from a script that imports it', () => {
    const printed = run(process.execPath, ['boot.ts'], user);
    assert.equal(printed, 'ok {"type":"debug-exit","status":9}');
  });

  it('has declarations that such a script is checked against', () => {
    const tsc = path.join(ROOT, 'node_modules/typescript/bin/tsc');
    const types = ['--types', 'node', '--typeRoots', path.join(ROOT, 'node_modules/@types')];
    const options = ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2023'];
    run(process.execPath, [tsc, ...options, ...types, 'boot.ts'], user);
  });

  it('has the command', () => {
    const ring0 = path.join(user, 'node_modules/.bin/ring0');
    // As on PATH, with a Node that is new enough: the one that npm brings along was left out.
    const PATH = `${path.dirname(process.execPath)}:${process.env['PATH']}`;
    const start = (...args: string[]) =>
      spawnSync(ring0, args, { cwd: user, encoding: 'utf8', env: { ...process.env, PATH } });
    const { stdout, status } = start('run', '--kernel', 'kernel');
    assert.deepEqual([stdout, status], ['ok', 9]);
    assert.match(start('image', 'create', 'disk', '1M').stdout, /disk/);
  });

  it('holds no sources and no tests', () => {
    const files = readdirSync(path.join(user, 'node_modules/ring0'), { recursive: true });
    const wrong = files.map(String).filter((file) => /^(src|test|tools)\b|\.test\./.test(file));
    assert.deepEqual(wrong, []);
  });
});
