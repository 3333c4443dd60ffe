import type { Worker } from 'node:worker_threads';
import { startThread } from './start-thread.ts';

/** The threads of a virtual machine besides this one. */
export interface Threads {
  readonly vcpu: Worker;
  readonly translator: Worker | undefined;
  /** Rejects when one of them fails, be it before it is used. */
  readonly failed: Promise<never>;
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
  const vcpu = start('./vcpu-worker.ts');
  const translator = translate ? start('./translator-worker.ts') : undefined;
  const failed = new Promise<never>((_, reject) => {
    vcpu.on('error', reject);
    translator?.on('error', reject);
  });
  failed.catch(() => {}); // nobody has asked yet
  return { vcpu, translator, failed };
}

export async function endThreads({ vcpu, translator }: Threads): Promise<void> {
  await Promise.all([vcpu.terminate(), translator?.terminate()]);
}
