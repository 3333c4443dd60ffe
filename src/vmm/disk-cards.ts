import { RequestError, unreachable } from '#base/errors.ts';
import type { DiskBus, DiskConfig } from '#control/vm.ts';
import { isNamespaceId } from '#devices/nvme/namespaces.ts';
import { Nvme } from '#devices/nvme/nvme.ts';
import { VirtioBlk } from '#devices/virtio/blk/blk.ts';
import { MOST_LUN } from '#devices/virtio/scsi/lun.ts';
import { VirtioScsi } from '#devices/virtio/scsi/scsi.ts';
import { VirtioMmio } from '#devices/virtio/transport/mmio.ts';
import { VirtioPci } from '#devices/virtio/transport/pci.ts';
import type { BlockBackend, DiskBays } from '#hw/block.ts';
import type { MakeCard } from './device-host.ts';

/** A guest uses as many as it has processors. */
const BLK_QUEUES = 4;

type Wires = Parameters<MakeCard>[0];

/** What there is between a board and the disks behind a card of it. */
export interface DiskCard {
  readonly card: ReturnType<MakeCard>;
  /** Where more disks have room. */
  readonly bays?: DiskBays;
}

/** A card with these disks, by their numbers: more than one only where a controller has room for them. */
export function makeDiskCard(
  bus: DiskBus,
  disks: ReadonlyMap<number, BlockBackend>,
  wires: Wires,
): DiskCard {
  switch (bus) {
    case 'virtio': {
      const device = new VirtioBlk(wires, only(disks), BLK_QUEUES);
      return { card: new VirtioPci(wires, { device, name: 'virtio-blk' }) };
    }
    case 'virtio-mmio':
    case 'virtio-mmio-legacy': {
      const device = new VirtioBlk(wires, only(disks), BLK_QUEUES);
      const legacy = bus === 'virtio-mmio-legacy';
      return { card: new VirtioMmio(wires, { device, name: 'virtio-blk', legacy }) };
    }
    case 'nvme': {
      const card = new Nvme(wires, disks);
      return { card, bays: card };
    }
    case 'scsi': {
      const device = new VirtioScsi(wires, disks, BLK_QUEUES);
      return { card: new VirtioPci(wires, { device, name: 'virtio-scsi' }), bays: device };
    }
    default:
      return unreachable(bus);
  }
}

function only(disks: ReadonlyMap<number, BlockBackend>): BlockBackend {
  const [disk, ...others] = disks.values();
  if (disk === undefined || others.length > 0)
    throw new RangeError(`${disks.size} disks of a card`);
  return disk;
}

/** Disks with the same name of a controller share a card. */
export interface PlacedDisk {
  readonly config: DiskConfig;
  readonly unit: number;
}

/** In the order of the first disk of each card. */
export function byCard<T extends PlacedDisk>(disks: readonly T[]): T[][] {
  const cards: T[][] = [];
  for (const disk of disks) {
    const { controller } = disk.config;
    const shared = cards.find(([first]) => first?.config.controller === controller);
    if (controller === undefined || shared === undefined) cards.push([disk]);
    else shared.push(disk);
  }
  return cards;
}

/** The number of a disk on its controller beside those that are there. @throws {RequestError} of the field `disk`. */
export function unitOf(
  { bus, controller, unit }: DiskConfig,
  others: readonly PlacedDisk[],
): number {
  const wrong = (message: string) => new RequestError(message, 'disk');
  const mates = others.filter(
    ({ config }) => controller !== undefined && config.controller === controller,
  );
  const isNvme = bus === 'nvme';
  if (!isNvme && bus !== 'scsi') {
    if (controller === undefined && unit === undefined) return 0;
    throw wrong(`a disk of bus ${bus} has no controller beside others; give bus=nvme or bus=scsi`);
  }
  const other = mates.find(({ config }) => config.bus !== bus);
  if (other !== undefined)
    throw wrong(`the controller '${controller}' is of bus ${other.config.bus}; give that one`);
  const isUnit = isNvme ? isNamespaceId : (number: number) => number <= MOST_LUN;
  const isFree = (number: number) => !mates.some((mate) => mate.unit === number);
  const what = isNvme ? 'nsid' : 'lun';
  if (unit !== undefined) {
    if (!isUnit(unit)) throw wrong(`${what}=${unit} is too large or too small a number`);
    if (!isFree(unit)) throw wrong(`${what}=${unit} of '${controller}' is taken; give another`);
    return unit;
  }
  for (let number = isNvme ? 1 : 0; isUnit(number); number++) if (isFree(number)) return number;
  throw wrong(`the controller '${controller}' is full; name another one`);
}
