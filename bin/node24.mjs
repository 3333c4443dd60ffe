// The Node that ring0 runs on. Plain JavaScript: it must load on older ones.
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

const WANTED_MAJOR = 24;
/** What a terminal or a service manager sends to end us. */
const ENDING = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'];
/** A signal to the whole process group reaches the child without us, which has ended by then. */
const FORWARD_AFTER_MS = 200;

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

/** Says on standard error that `findNode` found none. Returns the exit status. */
export function complainAboutNode() {
  const how = `install Node ${WANTED_MAJOR} or later, or run 'npm ci' without --omit=optional`;
  process.stderr.write(`ring0: Node ${process.versions.node} is too old: ${how}\n`);
  return 1;
}

/**
 * Runs that Node with `args`; resolves with the status to exit with, or ends this process by the signal that ended the
 * child. The signals that end a process go to the child, which decides. `extraStdio` may hold 'ipc': see `endWithLauncher`.
 */
export async function runNode(node, args, extraStdio = []) {
  // Loaded here: a start that needs no other Node does without it.
  const { spawn } = await import('node:child_process');
  return await new Promise((resolve) => {
    const child = spawn(node, args, { stdio: ['inherit', 'inherit', 'inherit', ...extraStdio] });
    for (const signal of ENDING) {
      process.on(signal, () => setTimeout(() => child.kill(signal), FORWARD_AFTER_MS).unref());
    }
    process.on('SIGWINCH', () => child.kill('SIGWINCH'));
    child.on('error', (error) => {
      process.stderr.write(`ring0: ${node}: ${error.message}\n`);
      resolve(1);
    });
    let isHungUp = false;
    process.on('SIGHUP', () => {
      isHungUp = true;
    });
    child.on('exit', (status, signal) => {
      // An older Node that ends by itself restores the terminal, and aborts when there is none any more.
      const ending = signal ?? (isHungUp ? 'SIGHUP' : null);
      if (ending === null) return resolve(status ?? 1);
      process.removeAllListeners(ending);
      process.kill(process.pid, ending);
    });
  });
}

/** For the child: nothing is left over when the launcher is killed in a way that it cannot forward. */
export function endWithLauncher() {
  if (process.channel === undefined) return;
  process.on('disconnect', () => process.kill(process.pid, 'SIGHUP'));
  process.channel.unref();
}
