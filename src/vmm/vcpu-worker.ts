import { parentPort, workerData } from 'node:worker_threads';
import { applyModel, findModel } from '#cpu/cpuid.ts';
import { SoftwareVcpu } from '#cpu/vcpu.ts';
import { readState, writeState } from '#cpu/vcpu-state.ts';
import type { Clock } from '#hw/device.ts';
import { S_STAT_FAULTS, S_STAT_TLB_MISS } from '#ir/state.ts';
import { BackgroundTranslator } from './background-translator.ts';
import { BoardHost } from './board-host.ts';
import type { FromWorker, WorkerStart } from './worker-protocol.ts';

// The thread of virtual CPU 0. It never goes back to its event loop while the guest runs: what other threads want of it
// comes through shared memory.

const EXCEPTIONS = [
  '#DE',
  '#DB',
  'NMI',
  '#BP',
  '#OF',
  '#BR',
  '#UD',
  '#NM',
  '#DF',
  '#9',
  '#TS',
  '#NP',
  '#SS',
  '#GP',
  '#PF',
  '#15',
  '#MF',
  '#AC',
  '#MC',
  '#XM',
];

function send(message: FromWorker): void {
  parentPort?.postMessage(message);
}

function startClock(startedAtMs: number): Clock {
  // performance.timeOrigin differs from thread to thread; the sum does not.
  const offset = performance.timeOrigin - startedAtMs;
  return {
    nowNs: () => (performance.now() + offset) * 1e6,
    wallMs: () => Date.now(),
  };
}

function counts(
  read: (i: number) => number,
  length: number,
  name: (i: number) => string,
): Record<string, number> {
  const list: Record<string, number> = {};
  for (let i = 0; i < length; i++) if (read(i) > 0) list[name(i)] = read(i);
  return list;
}

function runGuest(start: WorkerStart): void {
  const { memory, layout } = start;
  const cpu = layout.cpus[0] ?? 0;
  const reported = new Set<string>();
  const model = findModel(start.cpuModel);
  const host = new BoardHost({
    memory,
    layout,
    model,
    clock: startClock(start.startedAtMs),
    log: {
      guestBug: (text) => {
        if (reported.has(text)) return;
        reported.add(text);
        send({ type: 'log', text });
      },
    },
    output: (bytes) => send({ type: 'output', bytes }),
  });
  const translator = start.translator && new BackgroundTranslator(start.translator, memory, cpu);
  const vcpu = new SoftwareVcpu({ ...start, features: model.features, translator }, cpu, host);
  vcpu.core.reset_cpu(cpu, model.signature);
  applyModel(memory, cpu, model);
  writeState(memory, cpu, start.state);
  vcpu.core.updateKey(cpu);
  host.a20Changed = () => vcpu.core.flush_tlb(cpu);
  const began = performance.now();
  const exit = vcpu.run();
  host.flush();
  const view = new DataView(memory.buffer);
  send({
    type: 'exit',
    exit,
    state: readState(memory, cpu),
    stats: {
      instructions: vcpu.instructions,
      exits: { ...host.exits, hlt: vcpu.halts, boundary: vcpu.boundaries },
      tlbMisses: Number(view.getBigUint64(cpu + S_STAT_TLB_MISS, true)),
      faults: counts(
        (i) => view.getUint32(cpu + S_STAT_FAULTS + i * 4, true),
        32,
        (i) => EXCEPTIONS[i] ?? `#${i}`,
      ),
      interrupts: counts(
        (i) => vcpu.interrupts[i] ?? 0,
        256,
        (i) => `${i}`,
      ),
      ...(vcpu.hotStats && { translation: vcpu.hotStats }),
      seconds: (performance.now() - began) / 1000,
    },
  });
}

runGuest(workerData as WorkerStart);
