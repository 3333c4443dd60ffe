import { closeSync, openSync } from 'node:fs';
import { MessageChannel, type MessagePort, type Worker } from 'node:worker_threads';
import type { VcpuState } from '#accel/accel.ts';
import { RequestError } from '#base/errors.ts';
import { hostReason } from '#base/host-reason.ts';
import type { Vm, VmConfig, VmExit, VmStats } from '#control/vm.ts';
import { findModel } from '#cpu/cpuid.ts';
import { layOut, type MemoryLayout } from '#cpu/layout.ts';
import {
  ATTN_INTERRUPT,
  ATTN_STOP,
  PAGE_RAM,
  PAGE_ROM,
  S_AREA,
  S_ATTENTION,
  S_PAGE_MAP,
  S_RAM_HOST,
  S_RAM_SIZE,
  S_ROM_HOST,
  S_ROM_PADDR,
} from '#ir/state.ts';
import { BootError } from '#machines/boot/boot-error.ts';
import { type FirmwarePlan, planFirmware } from '#machines/boot/firmware.ts';
import { planBoot } from '#machines/boot/plan.ts';
import type { Placement } from '#machines/boot/plan-types.ts';
import type { MmioPlace } from '#machines/mmio-cards.ts';
import { buildTables } from '#machines/tables/tables.ts';
import { bootFromDisk } from './boot-disk.ts';
import { crashExit, differenceExit } from './crash-exit.ts';
import { DECOMPRESS } from './decompress.ts';
import { DeviceHost } from './device-host.ts';
import { diskPlaces } from './disk-places.ts';
import { DiskPlugs } from './disk-plugs.ts';
import { Disks } from './disks.ts';
import { type Engine, engineStamp, loadEngine } from './engine.ts';
import { GuestProfile } from './guest-profile.ts';
import { symbolFiles, userSymbols } from './guest-symbols.ts';
import { keptKernels } from './kernel-cache.ts';
import { InputRing } from './mailbox.ts';
import { setEngineFlags } from './optimised-code.ts';
import { startThreads, type Threads } from './threads.ts';
import { cacheFile } from './translation-cache.ts';
import { addStats, NO_STATS } from './vm-stats.ts';
import type { FromWorker, TraceStart, TranslatorStart, WorkerStart } from './worker-protocol.ts';

type PreparedVm = Omit<WorkerStart, 'translator' | 'cards' | 'slotEvents'>;

const STDERR = 2;
/** How long the vCPU's thread has to end by itself. */
const STOP_GRACE_MS = 5000;
const STOP_RETRY_MS = 10;
/** How long typed text that found no room waits. */
const INPUT_RETRY_MS = 20;
const MAX_PAGES = 65536;
const PAGE = 4096;

type WorkerEnd = Extract<FromWorker, { type: 'exit' }>;

/** Opens the file of a trace. @throws {RequestError} */
function openTrace(config: VmConfig): TraceStart | undefined {
  const { trace } = config;
  if (trace === undefined) return undefined;
  const { kinds, file } = trace;
  const symbols = symbolFiles(config);
  if (file === undefined) return { kinds, fd: STDERR, file: 'standard error', symbols };
  try {
    return { kinds, fd: openSync(file, 'w'), file, symbols };
  } catch (cause) {
    throw new RequestError(`${file}: ${hostReason(cause)}`, 'trace', { cause });
  }
}

/** True when a thread of its own translates. */
function translatesAside({ translate }: VmConfig): boolean {
  return translate !== false && translate !== 'at-once';
}

/** Makes a virtual machine; it does not run before `run`. Throws `RequestError` where the configuration cannot be met. */
export async function createVm(config: VmConfig): Promise<Vm> {
  findModel(config.cpuModel);
  if (config.symbols !== undefined) userSymbols(config.symbols);
  setEngineFlags();
  const threads = startThreads(translatesAside(config));
  try {
    const engine = loadEngine(config);
    // What earlier runs have translated comes from there, at once.
    if (engine.engineCache?.templates !== undefined) threads.translator();
    const disks = await Disks.open(config.disks ?? []);
    return new SoftwareVm(await withBootFiles(config, disks), { engine, disks, threads });
  } catch (error) {
    await threads.end();
    throw error;
  }
}

/** The configuration with the kernel that lies on the first disk, where it is to be taken from there. */
async function withBootFiles(config: VmConfig, disks: Disks): Promise<VmConfig> {
  if (config.bootDisk !== true || disks.first === undefined) return config;
  try {
    return { ...config, ...(await bootFromDisk(disks.first, config.append)) };
  } catch (error) {
    await disks.close();
    throw error;
  }
}

interface VmParts {
  readonly engine: Engine;
  readonly disks: Disks;
  readonly threads: Threads;
}

class SoftwareVm implements Vm {
  readonly warnings: Vm['warnings'];
  readonly onWarning: Vm['onWarning'];
  readonly #config: VmConfig;
  readonly #engine: Engine;
  readonly #disks: Disks;
  readonly #plugs: DiskPlugs;
  #devices: DeviceHost | undefined;
  readonly #listeners: ((bytes: Uint8Array) => void)[] = [];
  readonly #warned: ((line: string) => void)[] = [];
  #early: Uint8Array[] = [];
  #typed: Uint8Array[] = [];
  #input: InputRing | undefined;
  #inputRetry: NodeJS.Timeout | undefined;
  /** For the first run. */
  #threads: Threads | undefined;
  #worker: Worker | undefined;
  #running: Promise<WorkerEnd | undefined> | undefined;
  #attention: Int32Array | undefined;
  #attentionAt = 0;
  #stopped = false;
  /** What the guest did that no hardware answers to. */
  readonly #notes: string[] = [];
  #stats: VmStats = NO_STATS;

  constructor(config: VmConfig, { engine, disks, threads }: VmParts) {
    this.#config = config;
    this.#threads = threads;
    this.#engine = engine;
    this.#disks = disks;
    this.warnings = disks.warnings;
    this.onWarning = (listener) => {
      disks.onWarning(listener);
      this.#warned.push(listener);
    };
    this.#plugs = new DiskPlugs(disks, (message) => this.#notes.push(message));
  }

  readonly console = {
    onOutput: (listener: (bytes: Uint8Array) => void): void => {
      this.#listeners.push(listener);
      for (const bytes of this.#early) listener(bytes);
      this.#early = [];
    },
    write: (bytes: Uint8Array): void => {
      this.#typed.push(bytes);
      this.#passInput();
    },
  };

  readonly disks: Vm['disks'] = () => this.#plugs.status();
  readonly addDisk: Vm['addDisk'] = (config) => this.#plugs.add(config);
  readonly removeDisk: Vm['removeDisk'] = (id, options) =>
    this.#plugs.remove(id, options?.force === true);
  readonly resizeDisk: Vm['resizeDisk'] = (id, sizeBytes, options) =>
    this.#plugs.resize(id, sizeBytes, options?.shrink === true);
  readonly limitDisk: Vm['limitDisk'] = (id, limits) => this.#plugs.limit(id, limits);

  stats(): VmStats {
    return { ...this.#stats, missing: [...new Set(this.#notes)] };
  }

  async run(): Promise<VmExit> {
    let trace: TraceStart | undefined;
    let profile: GuestProfile | undefined;
    try {
      trace = openTrace(this.#config);
      profile = new GuestProfile(this.#config);
      for (;;) {
        if (this.#stopped) return { type: 'stopped' };
        const exit = await this.#runOnce(trace, profile);
        if (exit.type !== 'reset' || this.#config.noReboot) return exit;
      }
    } finally {
      if (trace !== undefined && trace.fd !== STDERR) closeSync(trace.fd);
      profile?.close();
      await this.#close();
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    // The vCPU's thread sees it at its next block. One that is starting clears it; one that is stuck is ended regardless.
    this.#askToStop();
    const again = setInterval(() => this.#askToStop(), STOP_RETRY_MS);
    const stuck = setTimeout(() => void this.#worker?.terminate(), STOP_GRACE_MS);
    await this.#running?.catch(() => {}); // `run` says how it failed
    clearInterval(again);
    clearTimeout(stuck);
    await this.#devices?.stop();
    await this.#close();
  }

  async #close(): Promise<void> {
    await this.#disks.close();
    await this.#threads?.end();
  }

  #askToStop(): void {
    if (this.#attention === undefined) return;
    Atomics.or(this.#attention, this.#attentionAt, ATTN_STOP);
    Atomics.notify(this.#attention, this.#attentionAt);
  }

  /** From power-on to the end of the guest or its reset. */
  async #runOnce(trace: TraceStart | undefined, profile: GuestProfile): Promise<VmExit> {
    const threads = this.#threads ?? startThreads(translatesAside(this.#config));
    this.#threads = undefined;
    this.#worker = threads.vcpu;
    try {
      return await this.#runOn(threads, trace, profile);
    } finally {
      await threads.end();
      this.#plugs.end();
      await this.#devices?.stop();
      await this.#plugs.disconnect();
    }
  }

  async #runOn(
    { vcpu, translator: startTranslator, failed }: Threads,
    trace: TraceStart | undefined,
    profile: GuestProfile,
  ): Promise<VmExit> {
    const { sampling } = profile;
    const start = {
      ...prepare(this.#config, this.#engine, diskPlaces(this.#disks.list)),
      ...(trace && { trace }),
      ...(sampling && { sampling }),
    };
    const cached = cachedCode(this.#config);
    const { memory, layout } = start;
    const words = new Int32Array(memory.buffer);
    this.#attention = words;
    this.#attentionAt = ((layout.cpus[0] ?? 0) + S_ATTENTION) >> 2;
    this.#input = new InputRing(memory.buffer, layout.devices);
    this.#passInput();
    const { port1: toVcpu, port2: slotEvents } = new MessageChannel();
    const devices = new DeviceHost({
      memory,
      layout,
      ramBytes: start.ramBytes,
      cards: this.#plugs.cards(),
      verify: this.#config.verify === true,
      tellVcpu: (event) => toVcpu.postMessage(event),
      slotOff: (slot) => void this.#plugs.slotOff(slot),
    });
    this.#devices = devices;
    this.#plugs.connect(devices);
    vcpu.ref();
    this.#running = Promise.race([this.#serve(vcpu, devices), failed]);
    const translator = startTranslator();
    const port = translator && connectTranslator(translator, { ...start, ...cached });
    vcpu.postMessage(
      {
        ...{ ...start, ...cached, cards: devices.placed },
        ...{ translator: port, slotEvents },
      } satisfies WorkerStart,
      port ? [port, slotEvents] : [slotEvents],
    );
    try {
      const end = await this.#running;
      if (end === undefined) return { type: 'stopped' };
      profile.add(end.samples);
      const ram = new Uint8Array(memory.buffer, layout.ram, start.ramBytes);
      const ends = end.exit.type !== 'reset' || this.#config.noReboot;
      const hottest = ends ? profile.finish(ram) : {};
      this.#stats = { ...addStats(this.#stats, end.stats), ...hottest };
      return this.#toVmExit(end, memory, layout);
    } finally {
      clearTimeout(this.#inputRetry);
      toVcpu.close();
      this.#input = undefined;
    }
  }

  #toVmExit({ exit, state }: WorkerEnd, memory: WebAssembly.Memory, layout: MemoryLayout): VmExit {
    const notes = this.#notes;
    switch (exit.type) {
      case 'debug-exit':
        return { type: 'debug-exit', status: exit.value * 2 + 1 };
      case 'shutdown':
        return crashExit('triple fault', { state, memory, layout, notes }, this.#config);
      case 'internal-error':
        return crashExit(exit.message, { state, memory, layout, notes }, this.#config);
      case 'difference':
        return differenceExit(exit.message, { state, memory, layout, notes }, this.#config);
      default:
        return exit;
    }
  }

  /** Resolves with how the guest ended, or undefined when the thread was ended from here. */
  #serve(worker: Worker, devices: DeviceHost): Promise<WorkerEnd | undefined> {
    return new Promise((resolve, reject) => {
      worker.on('message', (message: FromWorker) => {
        if (message.type === 'devices') devices.wake();
        else if (message.type === 'output') this.#emit(message.bytes);
        else if (message.type === 'log') this.#notes.push(message.text);
        else if (message.type === 'warning') this.#warn(message.text);
        else if (message.type === 'exit') resolve(message);
        else if (message.type === 'failed')
          reject(new RequestError(message.message, message.field));
      });
      worker.on('exit', () => resolve(undefined));
    });
  }

  #warn(line: string): void {
    for (const listener of this.#warned) listener(line);
  }

  #emit(bytes: Uint8Array): void {
    if (this.#listeners.length === 0) this.#early.push(bytes);
    for (const listener of this.#listeners) listener(bytes);
  }

  /** Moves what was typed into the ring as far as there is room, wakes the vCPU, and comes back for the rest. */
  #passInput(): void {
    const input = this.#input;
    if (input === undefined || this.#typed.length === 0) return;
    for (let bytes = this.#typed[0]; bytes !== undefined; bytes = this.#typed[0]) {
      const taken = input.write(bytes);
      if (taken < bytes.length) {
        this.#typed[0] = bytes.subarray(taken);
        // A timer that always runs would cost an idle guest half of what it may take of a core.
        clearTimeout(this.#inputRetry);
        this.#inputRetry = setTimeout(() => this.#passInput(), INPUT_RETRY_MS);
        break;
      }
      this.#typed.shift();
    }
    if (this.#attention === undefined) return;
    Atomics.or(this.#attention, this.#attentionAt, ATTN_INTERRUPT);
    Atomics.notify(this.#attention, this.#attentionAt);
  }
}

/** Has a thread translate; returns the port by which the vCPU's thread asks it to. */
function connectTranslator(worker: Worker, start: PreparedVm): MessagePort {
  const { port1, port2 } = new MessageChannel();
  const message: TranslatorStart = {
    memory: start.memory,
    cpu: start.layout.cpus[0] ?? 0,
    cpuModel: start.cpuModel,
    port: port2,
    ...(start.translationCache !== undefined && { translationCache: start.translationCache }),
  };
  worker.postMessage(message, [port2]);
  return port1;
}

/** The file of the guest's translated code, when it is to be kept. */
function cachedCode(config: VmConfig): Pick<WorkerStart, 'translationCache'> {
  const { translationCache, cpuModel, kernel, firmware } = config;
  const image = kernel ?? firmware;
  if (translationCache === undefined || !translatesAside(config) || image === undefined) return {};
  return { translationCache: cacheFile(translationCache, engineStamp(), { cpuModel, image }) };
}

function makeMemory(pages: number): WebAssembly.Memory {
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: MAX_PAGES, shared: true });
  } catch (cause) {
    throw new RequestError('the host does not have that much memory; give less', 'memory', {
      cause,
    });
  }
}

/** Lays out memory, places what runs first, and says how the vCPU starts. */
function prepare(config: VmConfig, engine: Engine, virtio: readonly MmioPlace[]): PreparedVm {
  const firmware = config.firmware && bootRequest('firmware', planFirmware, config.firmware);
  const layout = layOut(1, config.memoryBytes, firmware?.rom.bytes.length ?? 0);
  const memory = makeMemory(layout.pages);
  describe(memory, layout, config.memoryBytes);
  const bytes = new Uint8Array(memory.buffer);
  // Firmware makes tables of its own, and the processor starts as it comes out of reset.
  const state = firmware ? {} : placeKernel(config, virtio, bytes.subarray(layout.ram));
  if (firmware) placeFirmware(firmware, memory, layout);
  return {
    ...engine,
    memory,
    layout,
    cpuModel: config.cpuModel,
    ramBytes: config.memoryBytes,
    assignCards: firmware === undefined,
    state,
    verify: config.verify === true,
    ...(config.disturb !== undefined && { disturb: config.disturb }),
    translateAtOnce: config.translate === 'at-once',
    startedAt: process.hrtime.bigint(),
  };
}

/** Makes a wrong image a wrong request. */
function bootRequest<T, R>(field: string, plan: (input: T) => R, input: T): R {
  try {
    return plan(input);
  } catch (error) {
    if (error instanceof BootError)
      throw new RequestError(error.message, error.field ?? field, { cause: error });
    throw error;
  }
}

function placeKernel(
  config: VmConfig,
  virtio: readonly MmioPlace[],
  ram: Uint8Array,
): Partial<VcpuState> {
  const { kernel, kernelName, initrd, modules } = config;
  if (kernel === undefined)
    throw new RequestError('there is nothing to run; give a kernel', 'kernel');
  const tables = buildTables({ cpus: 1, memoryBytes: config.memoryBytes }, virtio);
  const plan = bootRequest('kernel', planBoot, {
    kernel,
    ...(kernelName !== undefined && { kernelName }),
    ...(initrd && { initrd }),
    ...(modules && { modules }),
    cmdline: config.append,
    memoryBytes: config.memoryBytes,
    cpu: { name: config.cpuModel, has64: findModel(config.cpuModel).all.has('lm') },
    rsdpPaddr: tables.rsdpPaddr,
    decompress: {
      ...DECOMPRESS,
      ...(config.translationCache && { kept: keptKernels(config.translationCache) }),
    },
  });
  for (const { paddr, bytes } of [...plan.writes, ...tables.writes]) ram.set(bytes, paddr);
  return plan.state;
}

/**
 * The ROM below 4 GiB, where writes are ignored, and its end below 1 MiB in RAM: as a chipset has it whose shadowing is
 * always on, because firmware keeps variables there.
 */
function placeFirmware(plan: FirmwarePlan, memory: WebAssembly.Memory, layout: MemoryLayout): void {
  const { rom, low } = plan;
  const view = new DataView(memory.buffer);
  const bytes = new Uint8Array(memory.buffer);
  bytes.set(rom.bytes, layout.rom);
  bytes.set(low.bytes, layout.ram + low.paddr);
  for (const cpu of layout.cpus) {
    view.setUint32(cpu + S_ROM_PADDR, rom.paddr, true);
    view.setUint32(cpu + S_ROM_HOST, layout.rom, true);
  }
  const fill = ({ paddr, bytes: data }: Placement, kind: number) => {
    const first = layout.pageMap + paddr / PAGE;
    bytes.fill(kind, first, first + data.length / PAGE);
  };
  fill(rom, PAGE_RAM | PAGE_ROM);
  fill(low, PAGE_RAM);
}

/** Tells the core where things lie, and which pages have memory behind them. */
function describe(memory: WebAssembly.Memory, layout: MemoryLayout, ramBytes: number): void {
  const view = new DataView(memory.buffer);
  const VGA = { from: 0xa0, to: 0xc0 };
  for (const [i, cpu] of layout.cpus.entries()) {
    view.setUint32(cpu + S_AREA, layout.areas[i] ?? 0, true);
    view.setUint32(cpu + S_PAGE_MAP, layout.pageMap, true);
    view.setUint32(cpu + S_RAM_HOST, layout.ram, true);
    view.setUint32(cpu + S_RAM_SIZE, ramBytes, true);
  }
  const map = new Uint8Array(memory.buffer, layout.pageMap, ramBytes / PAGE);
  map.fill(PAGE_RAM);
  map.fill(0, VGA.from, VGA.to);
}
