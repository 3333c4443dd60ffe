import { parentPort, receiveMessageOnPort } from 'node:worker_threads';
import type { VcpuExit } from '#accel/accel.ts';
import { applyModel, findModel } from '#cpu/cpuid.ts';
import type { Disturber } from '#cpu/disturber.ts';
import type { Translator } from '#cpu/hot-tier.ts';
import { LockstepError } from '#cpu/lockstep/lockstep-error.ts';
import { type SoftwareParts, SoftwareVcpu } from '#cpu/vcpu.ts';
import { readState, writeState } from '#cpu/vcpu-state.ts';
import { S_TRACE } from '#ir/state-system.ts';
import { BackgroundTranslator } from './background-translator.ts';
import { BoardHost, type BoardOptions } from './board-host.ts';
import type { SlotEvent } from './device-link.ts';
import { writeEngine } from './engine-cache.ts';
import { GuestClock } from './guest-clock.ts';
import { GuestSampler } from './guest-sampler.ts';
import { guestSymbols } from './guest-symbols.ts';
import { TraceError, TraceSink } from './trace-sink.ts';
import { TracedBoardHost } from './traced-board-host.ts';
import type { Tracer } from './tracer.ts';
import { writeCache } from './translation-cache.ts';
import { LACKS } from './undefined-instruction.ts';
import { readStats } from './vm-stats.ts';
import type { FromWorker, TraceStart, WorkerStart } from './worker-protocol.ts';

// The thread of virtual CPU 0. It never goes back to its event loop while the guest runs: what other threads want of it
// comes through shared memory.

/** A guest may do wrong in as many ways as there are addresses. */
const MOST_NOTES = 200;
/** A block's first entry. */
const AT_ONCE_HEAT = 1;

function send(message: FromWorker): void {
  parentPort?.postMessage(message);
}

/** `performance.now()` is four calls, and an idle guest's thread comes to each with cold caches. */
function startClock(startedAt: bigint): GuestClock {
  const { bigint } = process.hrtime;
  return new GuestClock(() => Number(bigint() - startedAt), Date.now);
}

async function startTracer(start: WorkerStart, trace: TraceStart): Promise<Tracer> {
  const { memory, layout, ramBytes } = start;
  const ram = new Uint8Array(memory.buffer, layout.ram, ramBytes);
  const { Tracer } = await import('./tracer.ts');
  const sink = new TraceSink(trace.fd, trace.file);
  return new Tracer(memory, layout, sink, guestSymbols(trace.symbols, ram));
}

function makeHost(
  options: BoardOptions,
  trace: TraceStart | undefined,
  tracer: Tracer | undefined,
): BoardHost {
  if (tracer === undefined) return new BoardHost(options);
  return new TracedBoardHost(options, tracer, trace?.kinds.includes('io') ?? false);
}

type HotParts = Pick<SoftwareParts, 'features' | 'pace'> & {
  readonly translator: Translator | undefined;
};

/** What translates: another thread, or this one at once, which has the translator loaded then. */
async function hotParts(
  { memory, layout, translateAtOnce }: WorkerStart,
  features: SoftwareParts['features'],
  background: Translator | undefined,
): Promise<HotParts> {
  if (!translateAtOnce) return { features, translator: background };
  const { ImmediateTranslator } = await import('#cpu/immediate-translator.ts');
  const { RegionCompiler } = await import('#cpu/region-compiler.ts');
  const compiler = new RegionCompiler(memory, layout.cpus[0] ?? 0, features);
  return { features, translator: new ImmediateTranslator(compiler), pace: { heat: AT_ONCE_HEAT } };
}

/** With `disturb` alone. */
async function startDisturber(
  { memory, layout, ramBytes, disturb }: WorkerStart,
  host: BoardHost,
): Promise<Disturber | undefined> {
  if (disturb === undefined) return undefined;
  const { Disturber } = await import('#cpu/disturber.ts');
  const interrupt = () => host.pulseTimer();
  const disturber = new Disturber(
    { memory, cpu: layout.cpus[0] ?? 0, ramBytes, interrupt },
    disturb,
  );
  const poll = host.poll.bind(host);
  host.poll = (now) => {
    poll(now);
    disturber.disturb();
  };
  return disturber;
}

function runVcpu(vcpu: SoftwareVcpu): VcpuExit {
  try {
    return vcpu.run();
  } catch (error) {
    if (!(error instanceof LockstepError)) throw error;
    return { type: 'difference', message: error.message };
  }
}

/** `notes`: what was not there for the guest. */
function haltText(notes: Iterable<string>): string {
  const text = 'the guest has halted with interrupts disabled, and only an NMI or a reset wakes it';
  const lacking = [...notes].find((note) => note.includes(LACKS));
  return lacking === undefined ? text : `${text}; before that it ran ${lacking}`;
}

async function runGuest(start: WorkerStart): Promise<void> {
  const { memory, layout } = start;
  const cpu = layout.cpus[0] ?? 0;
  const reported = new Set<string>();
  const model = findModel(start.cpuModel);
  const tracer = start.trace && (await startTracer(start, start.trace));
  const options: BoardOptions = {
    memory,
    layout,
    ramBytes: start.ramBytes,
    model,
    clock: startClock(start.startedAt),
    log: {
      guestBug: (text) => {
        if (reported.has(text) || reported.size >= MOST_NOTES) return;
        reported.add(text);
        send({ type: 'log', text });
        tracer?.note(`note ${text}`);
      },
    },
    output: (bytes) => send({ type: 'output', bytes }),
    cards: start.cards,
    assignCards: start.assignCards,
    takeSlotEvent: () => receiveMessageOnPort(start.slotEvents)?.message as SlotEvent | undefined,
    wakeDevices: () => send({ type: 'devices' }),
    haltedForGood: () => send({ type: 'warning', text: haltText(reported) }),
  };
  const host = makeHost(options, start.trace, tracer);
  const sampler = start.sampling && new GuestSampler(memory, layout, start.sampling === 'stacks');
  if (sampler !== undefined) host.sample = sampler.look.bind(sampler);
  const background = start.translator && new BackgroundTranslator(start.translator, memory, cpu);
  const parts = await hotParts(start, model.features, background);
  const { engineCache } = start;
  const templates = engineCache?.templates;
  const disturber = await startDisturber(start, host);
  const pace = disturber?.paced(parts.pace) ?? parts.pace;
  const vcpu = new SoftwareVcpu({ ...start, ...parts, pace, templates }, cpu, host);
  disturber?.attach(vcpu);
  vcpu.core.reset_cpu(cpu, model.signature);
  applyModel(memory, cpu, model);
  writeState(memory, cpu, start.state);
  const view = new DataView(memory.buffer);
  if (start.trace !== undefined) {
    const { traceBits } = await import('./tracer.ts');
    view.setUint32(cpu + S_TRACE, traceBits(start.trace.kinds), true);
  }
  vcpu.core.updateKey(cpu);
  host.a20Changed = () => vcpu.core.a20_moved(cpu);
  const began = performance.now();
  const exit = runVcpu(vcpu);
  const ended = performance.now();
  host.flush();
  // What may be wrong is not for later runs.
  if (start.translationCache !== undefined && exit.type !== 'difference')
    writeCache(start.translationCache, vcpu.usedRegions(), background?.cached ?? []);
  if (engineCache !== undefined) writeEngine(engineCache, start, vcpu);
  tracer?.note(`end  ${exit.type}`);
  tracer?.flush();
  send({
    type: 'exit',
    exit,
    state: readState(memory, cpu),
    ...(sampler && { samples: sampler.samples(options.clock.nowNs()) }),
    stats: {
      ...readStats(view, cpu, vcpu, host.exits, (ended - began) / 1000),
      ...disturber?.stats,
    },
  });
}

parentPort?.once('message', async (start: WorkerStart) => {
  try {
    await runGuest(start);
  } catch (error) {
    if (!(error instanceof TraceError)) throw error;
    send({ type: 'failed', field: 'trace', message: error.message });
  }
});
