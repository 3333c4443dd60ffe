import { RequestError } from '#base/errors.ts';
import type { DiskConfig, DiskStatus, IoLimits } from '#control/vm.ts';
import { poolsOf } from '#storage/node/free-space.ts';
import type { DeviceHost, MakeCard } from './device-host.ts';
import type { DiskEvents, Disks, OpenDisk } from './disks.ts';
import { SpaceWatch } from './space-watch.ts';
import { Standstill } from './standstill.ts';

/** What leaves: resolves when the disk is closed. */
interface Leaving {
  readonly done: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
}

/** Which disk is in which slot of the machine, and disks that come and go while it runs. */
export class DiskPlugs {
  readonly #disks: Disks;
  readonly #failed: (message: string) => void;
  readonly #standstill: Standstill;
  readonly #events: DiskEvents;
  readonly #space: SpaceWatch;
  readonly #slots = new Map<number, OpenDisk>();
  readonly #leaving = new Map<OpenDisk, Leaving>();
  #host: DeviceHost | undefined;

  constructor(disks: Disks, failed: (message: string) => void) {
    this.#disks = disks;
    this.#failed = (message) => {
      failed(message);
      disks.warn(message);
    };
    this.#standstill = new Standstill((line) => disks.warn(line));
    this.#events = {
      failed: this.#failed,
      stalled: (file, isStalled) => this.#standstill.stalled(file, isStalled),
    };
    this.#space = new SpaceWatch(
      () => poolsOf(disks.growing()),
      (line) => disks.warn(line),
    );
  }

  /** For a machine that is about to be powered on: `connect` follows. */
  cards(): MakeCard[] {
    return this.#disks.cards(this.#events);
  }

  connect(host: DeviceHost): void {
    this.#host = host;
    this.#standstill.connect(host);
    this.#space.start();
    for (const [index, { slot }] of host.placed.entries()) {
      const disk = this.#disks.list[index];
      if (disk !== undefined) this.#slots.set(slot, disk);
    }
  }

  /** The guest runs no longer: requests wait for room no longer. */
  end(): void {
    this.#standstill.connect(undefined);
    this.#disks.end();
  }

  /** The guest has ended, or begins anew: it uses nothing any more, and what was to leave does. */
  async disconnect(): Promise<void> {
    this.#host = undefined;
    this.#space.stop();
    this.#slots.clear();
    for (const disk of [...this.#leaving.keys()]) await this.#close(disk);
  }

  status(): readonly DiskStatus[] {
    return this.#disks.list.map((disk) => ({
      id: disk.id,
      path: disk.config.path,
      format: disk.image.format,
      bus: disk.config.bus,
      sizeBytes: disk.image.sizeBytes,
      readOnly: disk.image.readOnly,
      snapshot: disk.config.snapshot,
      isLeaving: this.#leaving.has(disk),
    }));
  }

  async add(config: DiskConfig): Promise<string> {
    const disk = await this.#disks.add(config);
    try {
      const slot = this.#host?.plug(this.#disks.card(disk, this.#events));
      if (slot !== undefined) this.#slots.set(slot, disk);
    } catch (error) {
      await this.#disks.remove(disk);
      throw error;
    }
    return disk.id;
  }

  async remove(id: string, force: boolean): Promise<void> {
    const disk = this.#find(id);
    const leaving = this.#leave(disk);
    const slot = this.#slotOf(disk);
    if (slot === undefined) await this.#close(disk);
    else {
      disk.isGone ||= force;
      this.#host?.unplug(slot, force ? 'pull' : 'ask');
    }
    await leaving.done;
  }

  async resize(id: string, sizeBytes: number, shrink: boolean): Promise<void> {
    await this.#disks.resize(this.#find(id), sizeBytes, shrink);
  }

  limit(id: string, limits: IoLimits | undefined): void {
    this.#disks.limit(this.#find(id), limits);
  }

  /** A slot has been switched off, whether we had asked for it or the guest did it by itself. */
  async slotOff(slot: number): Promise<void> {
    const disk = this.#slots.get(slot);
    this.#slots.delete(slot);
    if (disk !== undefined) await this.#close(disk);
  }

  #leave(disk: OpenDisk): Leaving {
    const known = this.#leaving.get(disk);
    if (known !== undefined) return known;
    let resolve: () => void = () => {};
    let reject: (reason: unknown) => void = () => {};
    const done = new Promise<void>((yes, no) => {
      resolve = yes;
      reject = no;
    });
    const leaving = { done, resolve, reject };
    this.#leaving.set(disk, leaving);
    return leaving;
  }

  async #close(disk: OpenDisk): Promise<void> {
    const leaving = this.#leaving.get(disk);
    this.#leaving.delete(disk);
    try {
      await this.#disks.remove(disk);
      leaving?.resolve();
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (leaving === undefined) this.#failed(reason);
      else leaving.reject(new RequestError(reason, 'disk', { cause: error }));
    }
  }

  #slotOf(disk: OpenDisk): number | undefined {
    for (const [slot, inSlot] of this.#slots) if (inSlot === disk) return slot;
    return undefined;
  }

  #find(id: string): OpenDisk {
    const found = this.#disks.list.find((disk) => disk.id === id);
    if (found !== undefined) return found;
    const ids = this.#disks.list.map((disk) => disk.id).join(', ');
    const rest = ids === '' ? 'the machine has none' : `there are ${ids}`;
    throw new RequestError(`there is no disk '${id}'; ${rest}`, 'disk');
  }
}
