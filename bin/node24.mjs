// The Node that ring0 runs on. Plain JavaScript: it must load on older ones.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

const WANTED_MAJOR = 24;

/** Path of a Node that is new enough, or undefined: this one, or the one that npm brought along. */
export function findNode() {
  if (Number(process.versions.node.split('.')[0]) >= WANTED_MAJOR) return process.execPath;
  const name = `node-${process.platform === 'win32' ? 'win' : process.platform}-${process.arch}`;
  try {
    const manifest = createRequire(import.meta.url).resolve(`${name}/package.json`);
    const path = join(dirname(manifest), 'bin', 'node');
    return existsSync(path) ? path : undefined;
  } catch {
    return undefined;
  }
}

/** Runs that Node with `args`; resolves with the status to exit with. Signals go to the child, which decides. */
export function runNode(node, args) {
  return new Promise((resolve) => {
    const child = spawn(node, args, { stdio: 'inherit' });
    const forward = (signal) => child.kill(signal);
    // A terminal sends SIGINT to both; the child ends first.
    process.on('SIGINT', () => {});
    for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, forward);
    child.on('error', (error) => {
      process.stderr.write(`ring0: ${node}: ${error.message}\n`);
      resolve(1);
    });
    child.on('exit', (status, signal) => {
      if (signal === null) return resolve(status ?? 1);
      for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.removeAllListeners(name);
      process.kill(process.pid, signal);
    });
  });
}

export const NO_NODE = `ring0: Node ${process.versions.node} is too old and no newer one came with npm; install Node ${WANTED_MAJOR} or later, or run 'npm ci' without --omit=optional\n`;
