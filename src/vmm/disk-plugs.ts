import { RequestError } from '#base/errors.ts';
import type { DiskConfig, DiskStatus, IoLimits } from '#control/vm.ts';
import type { DiskBays } from '#hw/block.ts';
import { poolsOf } from '#storage/node/free-space.ts';
import type { DeviceHost, MakeCard } from './device-host.ts';
import { byCard, makeDiskCard } from './disk-cards.ts';
import type { DiskEvents, Disks, OpenDisk } from './disks.ts';
import { SpaceWatch } from './space-watch.ts';
import { Standstill } from './standstill.ts';

/** What leaves: resolves when the disk is closed. */
interface Leaving {
  readonly done: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
}

/** A card, and the disks that are behind it. */
interface Controller {
  readonly disks: OpenDisk[];
  bays?: DiskBays;
}

/** Which disk is in which slot of the machine, and disks that come and go while it runs. */
export class DiskPlugs {
  readonly #disks: Disks;
  readonly #failed: (message: string) => void;
  readonly #standstill: Standstill;
  readonly #events: DiskEvents;
  readonly #space: SpaceWatch;
  /** In the order of their slots, before they have any. */
  #made: readonly Controller[] = [];
  readonly #slots = new Map<number, Controller>();
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
      stalled: (why) => this.#standstill.stalled(why),
    };
    this.#space = new SpaceWatch(
      () => poolsOf(disks.growing()),
      (line) => disks.warn(line),
    );
  }

  /** For a machine that is about to be powered on: `connect` follows. */
  cards(): MakeCard[] {
    this.#disks.begin();
    this.#made = byCard(this.#disks.list).map((disks) => ({ disks }));
    return this.#made.map((controller) => this.#card(controller));
  }

  #card(controller: Controller): MakeCard {
    return (wires) => {
      const { disks } = controller;
      const backends = new Map(
        disks.map((disk) => [disk.unit, this.#disks.backend(disk, this.#events)] as const),
      );
      const bus = disks[0]?.config.bus ?? 'virtio';
      const { card, bays } = makeDiskCard(bus, backends, wires);
      if (bays !== undefined) controller.bays = bays;
      return card;
    };
  }

  connect(host: DeviceHost): void {
    this.#host = host;
    this.#standstill.connect(host);
    this.#space.start();
    for (const [index, { slot }] of host.placed.entries()) {
      const controller = this.#made[index];
      if (controller !== undefined) this.#slots.set(slot, controller);
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
      ...(disk.config.controller !== undefined && { controller: disk.config.controller }),
      unit: disk.unit,
      sizeBytes: disk.image.sizeBytes,
      readOnly: disk.image.readOnly,
      snapshot: disk.config.snapshot,
      isLeaving: this.#leaving.has(disk),
    }));
  }

  async add(config: DiskConfig): Promise<string> {
    const disk = await this.#disks.add(config);
    try {
      this.#plug(disk);
    } catch (error) {
      await this.#disks.remove(disk);
      throw error;
    }
    return disk.id;
  }

  /** Behind the controller that it names, when the machine has that, else behind one of its own. */
  #plug(disk: OpenDisk): void {
    const name = disk.config.controller;
    const there = [...this.#slots.values()].find(
      ({ disks }) => name !== undefined && disks[0]?.config.controller === name,
    );
    if (there?.bays === undefined) {
      const controller = { disks: [disk] };
      const slot = this.#host?.plug(this.#card(controller));
      if (slot !== undefined) this.#slots.set(slot, controller);
      return;
    }
    if (there.disks.every((other) => this.#leaving.has(other)))
      throw new RequestError(
        `the controller '${name}' is about to leave; wait, or name another`,
        'disk',
      );
    there.disks.push(disk);
    there.bays.attach(disk.unit, this.#disks.backend(disk, this.#events));
  }

  async remove(id: string, force: boolean): Promise<void> {
    const disk = this.#find(id);
    const leaving = this.#leave(disk);
    const [slot, controller] = this.#slotOf(disk) ?? [];
    disk.isGone ||= force;
    if (slot === undefined || controller === undefined) await this.#close(disk);
    else if (controller.bays !== undefined && controller.disks.length > 1)
      await this.#takeFrom(controller.disks, controller.bays, disk);
    else if (!force) this.#host?.unplug(slot, 'ask');
    else if (disk.config.bus === 'nvme') this.#host?.unplug(slot, 'pull');
    else await this.#takeFile(slot, controller, disk);
    await leaving.done;
  }

  /**
   * The card stays until the guest gives it up, and answers with errors, as with QEMU's drive_del: Linux 6.1's driver of virtio
   * cards waits for ever for one that is gone.
   */
  async #takeFile(slot: number, controller: Controller, disk: OpenDisk): Promise<void> {
    controller.disks.length = 0;
    await disk.backend?.end();
    await this.#close(disk);
    // Meanwhile the guest may have given the slot up, or begun anew.
    if (this.#slots.get(slot) === controller) this.#host?.unplug(slot, 'ask');
  }

  /** Guests are not asked for a disk whose controller stays: they are told. */
  async #takeFrom(disks: OpenDisk[], bays: DiskBays, disk: OpenDisk): Promise<void> {
    disks.splice(disks.indexOf(disk), 1);
    await bays.detach(disk.unit);
    await this.#close(disk);
  }

  async resize(id: string, sizeBytes: number, shrink: boolean): Promise<void> {
    await this.#disks.resize(this.#find(id), sizeBytes, shrink);
  }

  limit(id: string, limits: IoLimits | undefined): void {
    this.#disks.limit(this.#find(id), limits);
  }

  /** A slot has been switched off, whether we had asked for it or the guest did it by itself. */
  async slotOff(slot: number): Promise<void> {
    const controller = this.#slots.get(slot);
    this.#slots.delete(slot);
    for (const disk of controller?.disks ?? []) await this.#close(disk);
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

  #slotOf(disk: OpenDisk): [number, Controller] | undefined {
    return [...this.#slots].find(([, { disks }]) => disks.includes(disk));
  }

  #find(id: string): OpenDisk {
    const found = this.#disks.list.find((disk) => disk.id === id);
    if (found !== undefined) return found;
    const ids = this.#disks.list.map((disk) => disk.id).join(', ');
    const rest = ids === '' ? 'the machine has none' : `there are ${ids}`;
    throw new RequestError(`there is no disk '${id}'; ${rest}`, 'disk');
  }
}
