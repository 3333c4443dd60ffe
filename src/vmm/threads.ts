import type { Worker } from 'node:worker_threads';
import { startThread } from './start-thread.ts';

/** The threads of a virtual machine besides this one. */
export interface Threads {
  readonly vcpu: Worker;
  /** The thread that translates, started when it is first asked for; undefined where there is to be none. */
  translator(): Worker | undefined;
  /** Rejects when one of them fails, be it before it is used. */
  readonly failed: Promise<never>;
  end(): Promise<void>;
}

/**
 * The vCPU's comes up while the guest is put into memory. The translator's would take a processor from both, and nothing is
 * hot yet. Until they are used they do not keep the process going.
 */
export function startThreads(translate: boolean): Threads {
  const { promise: failed, reject } = Promise.withResolvers<never>();
  failed.catch(() => {}); // nobody has asked yet
  const start = (file: string) => {
    const thread = startThread(new URL(file, import.meta.url));
    thread.unref();
    thread.on('error', reject);
    return thread;
  };
  const vcpu = start('./vcpu-worker.ts');
  let translator: Worker | undefined;
  return {
    vcpu,
    translator: () => {
      if (translate) translator ??= start('./translator-worker.ts');
      return translator;
    },
    failed,
    end: async () => {
      await Promise.all([vcpu.terminate(), translator?.terminate()]);
    },
  };
}
