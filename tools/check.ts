// What STYLE demands and a program can check, tests apart. Arguments: the names of the checks to run; none means all.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const DIRS = ['src', 'bin', 'test', 'tools', 'bench', 'fuzz'].filter((dir) =>
  existsSync(join(ROOT, dir)),
);

const CHECKS: Readonly<Record<string, readonly string[]>> = {
  biome: [tool('biome'), 'check', '--error-on-warnings', '--max-diagnostics=100', '.'],
  types: [tool('tsc'), '-p', 'tsconfig.json'],
  'types-core': [tool('tsc'), '-p', 'src/core/tsconfig.json'],
  imports: [tool('depcruise'), '--config', '.dependency-cruiser.mjs', ...DIRS],
  unused: [tool('knip'), '--no-config-hints'],
  build: ['tools/build.ts'],
};

function tool(name: string): string {
  return join('node_modules/.bin', name);
}

/** Runs a check; its output is shown when it fails. */
function passes(name: string, command: readonly string[]): boolean {
  const start = performance.now();
  const result = spawnSync(process.execPath, command, { cwd: ROOT, encoding: 'utf8' });
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  const ok = result.status === 0;
  if (!ok) process.stdout.write(result.error?.message ?? result.stdout + result.stderr);
  process.stdout.write(`check: ${name} ${ok ? 'ok' : 'FAILED'} in ${seconds} s\n`);
  return ok;
}

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !(name in CHECKS));
if (unknown.length > 0) {
  const known = Object.keys(CHECKS).join(', ');
  process.stderr.write(`check: there is no check ${unknown.join(', ')}; there are ${known}\n`);
  process.exitCode = 1;
} else {
  const failed = Object.entries(CHECKS)
    .filter(([name]) => wanted.length === 0 || wanted.includes(name))
    .filter(([name, command]) => !passes(name, command))
    .map(([name]) => name);
  if (failed.length > 0) {
    process.stdout.write(`check: failed: ${failed.join(', ')}\n`);
    process.exitCode = 1;
  }
}
