import { RequestError } from '#base/errors.ts';
import { formatSize } from '#base/units.ts';
import type { DiskBus, DiskStatus, Vm } from '#control/vm.ts';
import { parseImageSize } from '#storage/ops/create.ts';
import { parseLimitWords } from './disk-limits.ts';
import { parseDisk } from './disk-request.ts';

/** What of a machine the monitor reaches. */
export type MonitoredVm = Pick<
  Vm,
  'warnings' | 'disks' | 'addDisk' | 'removeDisk' | 'resizeDisk' | 'limitDisk'
>;

export interface MonitorHost {
  readonly vm: MonitoredVm;
  /** Shows lines; also later than the command that led to them. */
  say(lines: readonly string[]): void;
  /** Ends the guest and ring0. */
  quit(): void;
}

interface MonitorCommand {
  readonly name: string;
  readonly parameters: string;
  readonly about: string;
  /** Resolves with what is to be shown. @throws {RequestError} */
  run(parameters: readonly string[], host: MonitorHost): Promise<readonly string[]>;
}

const DRIVERS: ReadonlyMap<string, DiskBus> = new Map([
  ['virtio-blk-pci', 'virtio'],
  ['virtio-scsi-pci', 'scsi'],
  ['nvme', 'nvme'],
]);

/** The words are QEMU's, as far as there are such. */
const COMMANDS: readonly MonitorCommand[] = [
  {
    name: 'help',
    parameters: '',
    about: 'this list',
    run: async () => help(),
  },
  {
    name: 'info',
    parameters: 'block',
    about: 'the disks that the machine has',
    run: async ([what], { vm }) => {
      if (what !== 'block')
        throw new RequestError("there is no such information; give 'info block'");
      const disks = vm.disks();
      return disks.length === 0 ? ['the machine has no disks'] : disks.map(describe);
    },
  },
  {
    name: 'drive_add',
    parameters: 'FILE[,id=ID][,bus=BUS][,OPTION]...',
    about: 'plug a disk in; options as those of --disk',
    run: async ([text = ''], host) => await addDisk(text, host),
  },
  {
    name: 'device_add',
    parameters: 'DRIVER,file=FILE[,id=ID][,OPTION]...',
    about: `the same; DRIVER is ${[...DRIVERS.keys()].join(', ')}`,
    run: async ([text = ''], host) => await addDisk(diskOfDevice(text), host),
  },
  {
    name: 'device_del',
    parameters: 'ID',
    about: 'ask the guest to give a disk up, and then remove it',
    run: async ([id], host) => {
      removeDisk(id, host, false);
      return [];
    },
  },
  {
    name: 'eject',
    parameters: '[-f] ID',
    about: 'the same; with -f take the file at once: what the guest still asks for fails',
    run: async ([first, second], host) => {
      const force = first === '-f';
      removeDisk(force ? second : first, host, force);
      return [];
    },
  },
  {
    name: 'block_resize',
    parameters: 'ID SIZE',
    about: 'give a disk another size, for example 20G; a smaller one loses its end',
    run: async ([id = '', text = ''], { vm }) => {
      const sizeBytes = parseImageSize(text);
      if (sizeBytes === undefined)
        throw new RequestError(`'${text}' is not a size; give for example 20G`);
      await vm.resizeDisk(id, sizeBytes, { shrink: true });
      return [];
    },
  },
  {
    name: 'block_set_io_throttle',
    parameters: 'ID [iops=N][,bps=N][,bps-burst=N]...',
    about: 'give a disk other limits, in the words of --disk; without any it has none',
    run: async ([id = '', text], { vm }) => {
      vm.limitDisk(id, text === undefined ? undefined : parseLimitWords(text));
      return [];
    },
  },
  {
    name: 'quit',
    parameters: '',
    about: 'end the guest and ring0',
    run: async (_, host) => {
      host.quit();
      return [];
    },
  },
];

/** Does what a line says, and shows what comes of it. */
export async function runMonitorLine(line: string, host: MonitorHost): Promise<void> {
  const [name, ...parameters] = line.split(/\s+/).filter((word) => word !== '');
  if (name === undefined) return;
  const command = COMMANDS.find((known) => known.name === name);
  try {
    if (command === undefined)
      throw new RequestError(`there is no command '${name}'; 'help' lists them`);
    host.say(await command.run(parameters, host));
  } catch (error) {
    host.say([messageOf(error)]);
  }
}

/** @throws what is no refusal of a request. */
function messageOf(error: unknown): string {
  if (error instanceof RequestError) return `error: ${error.message}`;
  throw error;
}

function help(): string[] {
  return COMMANDS.flatMap(({ name, parameters, about }) => [
    `${name} ${parameters}`.trim(),
    `    ${about}`,
  ]);
}

function describe(disk: DiskStatus): string {
  const marks = [
    disk.format,
    ...placeOf(disk),
    formatSize(disk.sizeBytes),
    ...(disk.readOnly ? ['read-only'] : []),
    ...(disk.snapshot ? ['snapshot'] : []),
    ...(disk.isLeaving ? ['asked to leave'] : []),
  ];
  return `${disk.id}: ${disk.path} (${marks.join(', ')})`;
}

/** The bus, and where on it, when that is shared. */
function placeOf({ bus, controller, unit }: DiskStatus): string[] {
  return controller === undefined
    ? [bus]
    : [`${bus} ${controller}`, `${bus === 'nvme' ? 'nsid' : 'lun'} ${unit}`];
}

async function addDisk(text: string, { vm }: MonitorHost): Promise<readonly string[]> {
  const warned = vm.warnings.length;
  const id = await vm.addDisk(parseDisk(text));
  return [...vm.warnings.slice(warned), `${id}: plugged in`];
}

/** `DRIVER,file=FILE,…` as `FILE,bus=…,…`. */
function diskOfDevice(text: string): string {
  const [driver = '', ...options] = text.split(',');
  const bus = DRIVERS.get(driver);
  if (bus === undefined)
    throw new RequestError(
      `there is no driver '${driver}'; give ${[...DRIVERS.keys()].join(', ')}`,
    );
  const rest = options.join(',');
  const file = /^file=(.+)$/.exec(rest)?.[1];
  if (file === undefined) throw new RequestError(`give ${driver},file=FILE,…`);
  return `${file},bus=${bus}`;
}

/** The guest may take its time, or never answer: what comes of it is said when it does. */
function removeDisk(id: string | undefined, host: MonitorHost, force: boolean): void {
  if (id === undefined) throw new RequestError("give the disk's id, which 'info block' lists");
  host.vm.removeDisk(id, { force }).then(
    () => host.say([`${id}: removed`]),
    (error: unknown) => host.say([messageOf(error)]),
  );
}
