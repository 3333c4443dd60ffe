import type { DeviceLog, MmioDevice, PortDevice } from './device.ts';

interface Range<T> {
  readonly base: number;
  readonly size: number;
  readonly device: T;
  /** What traces call it: the chip, or the one of several. */
  readonly name: string;
}

const PORTS = 65536;

/** Which device answers at which port. Ports without one read as all ones, as an ISA bus without a card does. */
export class PortBus {
  readonly #ranges: Range<PortDevice>[] = [];
  /** By port: 1 plus the number of its range, 0 for none. Guests that poll a port ask millions of times a second. */
  readonly #owners = new Uint16Array(PORTS);
  readonly #log: DeviceLog;

  constructor(log: DeviceLog) {
    this.#log = log;
  }

  map(base: number, size: number, device: PortDevice, name = 'device'): void {
    this.#ranges.push({ base, size, device, name });
    this.#assign();
  }

  /** Takes away what `map` placed. */
  unmap(device: PortDevice): void {
    const index = this.#ranges.findIndex((range) => range.device === device);
    if (index < 0) return;
    this.#ranges.splice(index, 1);
    this.#assign();
  }

  /** Where ranges overlap, the first has the port. */
  #assign(): void {
    this.#owners.fill(0);
    for (const [i, { base, size }] of [...this.#ranges.entries()].reverse())
      this.#owners.fill(i + 1, base, base + size);
  }

  /** Whose port it is, for people. */
  nameAt(port: number): string {
    return this.#find(port)?.name ?? 'nothing';
  }

  #find(port: number): Range<PortDevice> | undefined {
    return this.#ranges[(this.#owners[port] ?? 0) - 1];
  }

  read(port: number, size: number): number {
    const range = this.#find(port);
    if (range !== undefined) return range.device.readPort(port - range.base, size) >>> 0;
    this.#log.guestBug(`read of port 0x${port.toString(16)}`);
    return size === 4 ? 0xffffffff : size === 2 ? 0xffff : 0xff;
  }

  write(port: number, size: number, value: number): void {
    const range = this.#find(port);
    if (range !== undefined) range.device.writePort(port - range.base, size, value);
    else this.#log.guestBug(`write to port 0x${port.toString(16)}`);
  }
}

/** Which device answers at which guest-physical address. */
export class MmioBus {
  readonly #ranges: Range<MmioDevice>[] = [];
  readonly #log: DeviceLog;

  constructor(log: DeviceLog) {
    this.#log = log;
  }

  map(base: number, size: number, device: MmioDevice, name = 'device'): void {
    this.#ranges.push({ base, size, device, name });
  }

  /** Takes away what `map` placed. */
  unmap(device: MmioDevice): void {
    const index = this.#ranges.findIndex((range) => range.device === device);
    if (index >= 0) this.#ranges.splice(index, 1);
  }

  /** Whose registers lie there, for people. */
  nameAt(paddr: number): string {
    return this.#find(paddr)?.name ?? 'nothing';
  }

  #find(paddr: number): Range<MmioDevice> | undefined {
    return this.#ranges.find((r) => paddr >= r.base && paddr < r.base + r.size);
  }

  read(paddr: number, size: number): number {
    const range = this.#find(paddr);
    if (range !== undefined) return range.device.readMmio(paddr - range.base, size) >>> 0;
    this.#log.guestBug(`read of 0x${paddr.toString(16)}, where nothing is`);
    return size === 4 ? 0xffffffff : size === 2 ? 0xffff : 0xff;
  }

  write(paddr: number, size: number, value: number): void {
    const range = this.#find(paddr);
    if (range !== undefined) range.device.writeMmio(paddr - range.base, size, value);
    else this.#log.guestBug(`write to 0x${paddr.toString(16)}, where nothing is`);
  }
}
