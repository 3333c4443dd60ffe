import type { Worker } from 'node:worker_threads';
import { startThread } from './start-thread.ts';

/** The threads of a virtual machine besides this one. */
export interface Threads {
  readonly vcpu: Worker;
  readonly translator: Worker | undefined;
}

/**
 * They take as long to come up as the guest to be put into memory: both happen at once. Until they are used they do not
 * keep the process going.
 */
export function startThreads(translate: boolean): Threads {
  const start = (file: string) => {
    const thread = startThread(new URL(file, import.meta.url));
    thread.unref();
    return thread;
  };
  return {
    vcpu: start('./vcpu-worker.ts'),
    translator: translate ? start('./translator-worker.ts') : undefined,
  };
}

export async function endThreads({ vcpu, translator }: Threads): Promise<void> {
  await Promise.all([vcpu.terminate(), translator?.terminate()]);
}
