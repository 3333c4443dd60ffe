import { nowMs } from '#base/node/now-ms.ts';

/** With their numbers (POSIX, kill(1)): `node:os`, which has them too, takes a millisecond to load. */
const SIGNALS = { SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGTERM: 15 } as const;
type EndingSignal = keyof typeof SIGNALS;
const NAMES = Object.keys(SIGNALS) as EndingSignal[];
/** How long cleaning up may take after a signal, before the process ends regardless. */
const GRACE_MS = 3000;
/**
 * npm and our launcher (bin/node24.mjs) pass on what they get, though we may have got it too, as part of their process group:
 * a repetition within this time of the first is such a copy.
 */
const COPY_MS = 500;

/** Why a run was ended from outside. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
  /** As shells report it: 128 and the signal's number. */
  readonly exitStatus: number;

  constructor(signal: EndingSignal) {
    super(`ended by ${signal}`);
    this.exitStatus = 128 + SIGNALS[signal];
  }
}

/**
 * Ends the process by `name`, once the listeners of 'exit' have run, which restore the terminal. Not by `process.exit` alone: Node
 * waits for V8's threads there, one of which may wait for this one to collect garbage.
 */
function endBy(name: EndingSignal): void {
  process.once('exit', () => {
    process.removeAllListeners(name);
    process.kill(process.pid, name);
  });
  process.exit();
}

/**
 * Turns the signals that end a process into the abort of `signal`, whose reason is an `Interrupted`, so that everything is
 * put in order first. A second signal, if it is no copy of the first, or an end that does not come, ends the process at once. `release` undoes it.
 */
export function catchInterrupts(
  clock = nowMs,
  end = endBy,
): {
  readonly signal: AbortSignal;
  release(): void;
} {
  const controller = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  let first: { readonly name: EndingSignal; readonly atMs: number } | undefined;
  const onSignal = (name: EndingSignal): void => {
    const reason = new Interrupted(name);
    const atMs = clock();
    if (first?.name === name && atMs - first.atMs < COPY_MS) return;
    first ??= { name, atMs };
    if (controller.signal.aborted) end(name);
    timer ??= setTimeout(() => end(name), GRACE_MS).unref();
    controller.abort(reason);
  };
  for (const name of NAMES) process.on(name, onSignal);
  return {
    signal: controller.signal,
    release: () => {
      clearTimeout(timer);
      for (const name of NAMES) process.off(name, onSignal);
    },
  };
}
