#!/usr/bin/env node
import { fileURLToPath } from 'node:url';
import { findNode, NO_NODE, runNode } from './node24.mjs';

const node = findNode();
if (node === undefined) {
  process.stderr.write(NO_NODE);
  process.exitCode = 1;
} else if (node !== process.execPath) {
  process.exitCode = await runNode(node, [
    fileURLToPath(import.meta.url),
    ...process.argv.slice(2),
  ]);
} else {
  const { main } = await import('../src/cli/main.ts');
  process.exitCode = await main(process.argv.slice(2));
}
