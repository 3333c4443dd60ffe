// npm run check: everything that a program can check. Prints what failed; its status says whether anything did.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const CHECKS: readonly (readonly [name: string, args: readonly string[]])[] = [
  ['build', ['tools/build.ts']],
  [
    'format and lint',
    [
      'node_modules/@biomejs/biome/bin/biome',
      'check',
      '--error-on-warnings',
      '--max-diagnostics=40',
      '.',
    ],
  ],
  ['types', ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json']],
  ['types of the core', ['node_modules/typescript/bin/tsc', '-p', 'src/core/tsconfig.json']],
  [
    'import rules',
    [
      'node_modules/dependency-cruiser/bin/dependency-cruiser.mjs',
      'src',
      '--config',
      '.dependency-cruiser.mjs',
      '--output-type',
      'err',
    ],
  ],
  ['unused code', ['node_modules/knip/bin/knip.js']],
];

const failed: string[] = [];
for (const [name, args] of CHECKS) {
  const start = performance.now();
  const result = spawnSync(process.execPath, args, { cwd: ROOT, stdio: 'inherit' });
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  console.log(`check: ${name}: ${result.status === 0 ? 'ok' : 'FAILED'} (${seconds} s)`);
  if (result.status !== 0) failed.push(name);
}
if (failed.length > 0) {
  console.log(`check: failed: ${failed.join(', ')}`);
  process.exitCode = 1;
}
