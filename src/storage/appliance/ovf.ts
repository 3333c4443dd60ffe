import type { XmlElement } from '@rgrove/parse-xml';
import { ImageError } from '../image.ts';
import { attribute, below, childrenOf, parseRoot, textOf } from '../xml.ts';

// DMTF DSP0243, Open Virtualization Format 1.1.0. Names are compared without their namespaces' prefixes.
const MAX_OVF_CHARACTERS = 1 << 20;
const RESOURCE_CPU = '3'; // DSP0004, CIM_ResourceAllocationSettingData.ResourceType
const RESOURCE_MEMORY = '4';
const RESOURCE_ETHERNET = '10';
const RESOURCE_DISK = '17';
const VMDK_STREAM = 'http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized';

export interface OvfDisk {
  readonly id: string;
  /** The file of the package that holds it; undefined: an empty disk. */
  readonly file: string | undefined;
  readonly capacityBytes: number;
  /** Of the image, by its URI; undefined: unknown. */
  readonly format: 'vmdk' | 'vpc' | undefined;
}

export interface OvfSystem {
  readonly name: string;
  readonly cpus: number;
  readonly memoryBytes: number;
  /** In the order of the controllers' ports. */
  readonly disks: readonly OvfDisk[];
  /** Names of the networks that its cards are on. */
  readonly networks: readonly string[];
}

export interface Ovf {
  readonly files: readonly string[];
  readonly systems: readonly OvfSystem[];
}

/** What a package's descriptor says. @throws {ImageError} `corrupt`, `unsupported`. */
export function parseOvf(text: string, path: string): Ovf {
  const bad = (what: string, cause?: unknown): ImageError =>
    new ImageError('corrupt', `${path}: ${what}`, { path }, { cause });
  if (text.length > MAX_OVF_CHARACTERS) throw bad('an OVF descriptor of more than 1 MiB');
  const root = parseRoot(text, 'Envelope');
  if (root instanceof Error) throw bad('the OVF descriptor is no XML', root);
  if (root === undefined) throw bad('no OVF envelope is here');
  const files = new Map<string, string>();
  for (const file of below(root, 'References', 'File')) {
    const href = attribute(file, 'href');
    checkHref(href, file, path);
    files.set(attribute(file, 'id'), href);
  }
  const disks = new Map<string, OvfDisk>();
  for (const disk of below(root, 'DiskSection', 'Disk')) {
    const id = attribute(disk, 'diskId');
    disks.set(id, diskOf(disk, id, files, path));
  }
  const systems = [
    ...childrenOf(root, 'VirtualSystem'),
    ...below(root, 'VirtualSystemCollection', 'VirtualSystem'),
  ];
  return {
    files: [...files.values()],
    systems: systems.map((system) => systemOf(system, disks, path)),
  };
}

/** Files of a package from a stranger lie in it, and nowhere else on this host. */
function checkHref(href: string, file: XmlElement, path: string): void {
  const unsupported = (what: string): ImageError =>
    new ImageError('unsupported', `${path}: not supported: ${what}`, { path });
  if (href === '' || href === '.' || href === '..' || /[/\\:]/.test(href))
    throw unsupported(`a file '${href}' outside of the package`);
  if (attribute(file, 'chunkSize') !== '') throw unsupported(`'${href}' in chunks; join them`);
  const compression = attribute(file, 'compression');
  if (compression !== '' && compression !== 'identity')
    throw unsupported(`'${href}' compressed by ${compression}; decompress it`);
}

function diskOf(
  disk: XmlElement,
  id: string,
  files: ReadonlyMap<string, string>,
  path: string,
): OvfDisk {
  const reference = attribute(disk, 'fileRef');
  const file = reference === '' ? undefined : files.get(reference);
  if (reference !== '' && file === undefined)
    throw new ImageError('corrupt', `${path}: disk '${id}' is in a file that is not named`, {
      path,
    });
  const unit = unitBytes(attribute(disk, 'capacityAllocationUnits'), 1);
  const capacityBytes = Number(attribute(disk, 'capacity')) * unit;
  if (!Number.isSafeInteger(capacityBytes) || capacityBytes < 0)
    throw new ImageError('corrupt', `${path}: disk '${id}' has no capacity`, { path });
  return { id, file, capacityBytes, format: formatOf(attribute(disk, 'format')) };
}

function formatOf(uri: string): OvfDisk['format'] {
  if (/vmdk/i.test(uri)) return 'vmdk';
  // Microsoft's address of the VHD specification
  return /vhd|LinkId=137171/i.test(uri) ? 'vpc' : undefined;
}

/** Such as `byte * 2^20` (DSP0004, annex C.1), or the names of OVF 0.9. */
function unitBytes(unit: string, fallback: number): number {
  const match = /^byte(?:\s*\*\s*2\s*\^\s*(\d{1,2}))?$/i.exec(unit.trim());
  if (match !== null) return 2 ** Number(match[1] ?? 0);
  return (
    { kilobytes: 2 ** 10, megabytes: 2 ** 20, gigabytes: 2 ** 30 }[unit.toLowerCase()] ?? fallback
  );
}

function systemOf(
  system: XmlElement,
  disks: ReadonlyMap<string, OvfDisk>,
  path: string,
): OvfSystem {
  const items = ['Item', 'StorageItem', 'EthernetPortItem'].flatMap((name) =>
    below(system, 'VirtualHardwareSection', name),
  );
  const ofType = (type: string): XmlElement[] =>
    items.filter((item) => textOf(item, 'ResourceType') === type);
  const [memory] = ofType(RESOURCE_MEMORY);
  const memoryUnit = memory === undefined ? '' : textOf(memory, 'AllocationUnits');
  const port = (item: XmlElement): number => Number(textOf(item, 'AddressOnParent')) || 0;
  const order = (item: XmlElement): string => textOf(item, 'Parent').padStart(12, '0');
  const ordered = ofType(RESOURCE_DISK).sort(
    (a, b) => order(a).localeCompare(order(b)) || port(a) - port(b),
  );
  return {
    name: textOf(system, 'Name') || attribute(system, 'id'),
    cpus: quantity(ofType(RESOURCE_CPU)[0], 1),
    memoryBytes: quantity(memory, 512) * unitBytes(memoryUnit, 2 ** 20),
    disks: ordered.map((item) => diskNamed(textOf(item, 'HostResource'), disks, path)),
    networks: ofType(RESOURCE_ETHERNET).map((item) => textOf(item, 'Connection')),
  };
}

function quantity(item: XmlElement | undefined, fallback: number): number {
  const value = item === undefined ? Number.NaN : Number(textOf(item, 'VirtualQuantity'));
  return Number.isSafeInteger(value) && value > 0 ? value : fallback;
}

/** `ovf:/disk/ID`; older programs write `/disk/ID`. */
function diskNamed(resource: string, disks: ReadonlyMap<string, OvfDisk>, path: string): OvfDisk {
  const id = /^(?:ovf:)?\/disk\/(.*)$/.exec(resource.trim())?.[1] ?? '';
  const disk = disks.get(id);
  if (disk !== undefined) return disk;
  throw new ImageError('corrupt', `${path}: there is no disk '${resource}'`, { path });
}

/** The descriptor of one system whose disks are VMDK streams on a SATA controller. */
export function makeOvf(system: OvfSystem): string {
  const files = system.disks.map(
    ({ id, file }) => `    <File ovf:href="${escaped(file ?? '')}" ovf:id="file-${escaped(id)}"/>`,
  );
  const disks = system.disks.map(
    ({ id, capacityBytes }) =>
      `    <Disk ovf:capacity="${capacityBytes}" ovf:diskId="${escaped(id)}" ovf:fileRef="file-${escaped(id)}" ovf:format="${VMDK_STREAM}"/>`,
  );
  const networks = [...new Set(system.networks)].map(
    (name) => `    <Network ovf:name="${escaped(name)}"><Description/></Network>`,
  );
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    '<Envelope ovf:version="1.0" xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData">',
    ...['  <References>', ...files, '  </References>'],
    ...['  <DiskSection>', '    <Info>Disks</Info>', ...disks, '  </DiskSection>'],
    ...['  <NetworkSection>', '    <Info>Networks</Info>', ...networks, '  </NetworkSection>'],
    `  <VirtualSystem ovf:id="${escaped(system.name)}">`,
    '    <Info>A virtual machine</Info>',
    `    <Name>${escaped(system.name)}</Name>`,
    ...['    <VirtualHardwareSection>', '      <Info>Hardware</Info>', ...hardware(system)],
    ...['    </VirtualHardwareSection>', '  </VirtualSystem>', '</Envelope>', ''],
  ].join('\n');
}

function hardware(system: OvfSystem): string[] {
  const controller = '3';
  const memory = {
    AllocationUnits: 'byte * 2^20',
    VirtualQuantity: `${system.memoryBytes / 2 ** 20}`,
  };
  const items: Record<string, string>[] = [
    { ElementName: 'CPUs', ResourceType: RESOURCE_CPU, VirtualQuantity: `${system.cpus}` },
    { ElementName: 'Memory', ResourceType: RESOURCE_MEMORY, ...memory },
    // 20 and AHCI: a SATA controller, as VirtualBox and VMware write it.
    { ElementName: 'SATA', ResourceType: '20', ResourceSubType: 'AHCI', Address: '0' },
    ...system.disks.map(({ id }, port) => ({
      AddressOnParent: `${port}`,
      ElementName: id,
      HostResource: `ovf:/disk/${id}`,
      Parent: controller,
      ResourceType: RESOURCE_DISK,
    })),
    ...system.networks.map((name) => ({
      AutomaticAllocation: 'true',
      Connection: name,
      ElementName: name,
      ResourceSubType: 'E1000',
      ResourceType: RESOURCE_ETHERNET,
    })),
  ];
  return items.map((item, index) => {
    const all = Object.entries({ ...item, InstanceID: `${index + 1}` });
    // The schema wants them in the order of their names.
    const sorted = all.sort(([a], [b]) => (a < b ? -1 : 1));
    const parts = sorted.map(([name, value]) => `<rasd:${name}>${escaped(value)}</rasd:${name}>`);
    return `      <Item>${parts.join('')}</Item>`;
  });
}

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);
}
