import { S_SCRATCH } from '#ir/state.ts';
import { BoardHost, type BoardOptions } from './board-host.ts';
import type { Tracer } from './tracer.ts';

/** The board, with every access to its devices in a trace. Without a trace of accesses the plain one runs. */
export class TracedBoardHost extends BoardHost {
  readonly trace: Tracer;
  readonly #accesses: boolean;
  readonly #view: DataView;
  readonly #cpu: number;

  constructor(options: BoardOptions, tracer: Tracer, accesses: boolean) {
    super(options);
    this.trace = tracer;
    this.#accesses = accesses;
    this.#view = new DataView(options.memory.buffer);
    this.#cpu = options.layout.cpus[0] ?? 0;
  }

  override portRead(port: number, size: number): number {
    const value = super.portRead(port, size);
    this.#port(port, size, value, false);
    return value;
  }

  override portWrite(port: number, size: number, value: number): void {
    this.#port(port, size, value, true);
    super.portWrite(port, size, value);
  }

  override mmioRead(paddr: number, size: number): number {
    const value = super.mmioRead(paddr, size);
    this.#mmio(paddr, size, value, false);
    return value;
  }

  override mmioWrite(paddr: number, size: number, value: number): void {
    this.#mmio(paddr, size, value, true);
    super.mmioWrite(paddr, size, value);
  }

  override apicMsrRead(msr: number): boolean {
    const done = super.apicMsrRead(msr);
    if (done) this.#msr(msr, false);
    return done;
  }

  override apicMsrWrite(msr: number): boolean {
    this.#msr(msr, true);
    return super.apicMsrWrite(msr);
  }

  override beforeSleep(): void {
    super.beforeSleep();
    this.trace.flush();
  }

  #port(address: number, size: number, value: number, write: boolean): void {
    if (!this.#accesses) return;
    const device = this.portName(address);
    this.trace.access({ space: 'port', write, address, device, size, value });
  }

  #mmio(address: number, size: number, value: number, write: boolean): void {
    if (!this.#accesses) return;
    const device = this.mmioName(address);
    this.trace.access({ space: 'mmio', write, address, device, size, value: value >>> 0 });
  }

  #msr(address: number, write: boolean): void {
    if (!this.#accesses) return;
    const value = this.#view.getBigUint64(this.#cpu + S_SCRATCH, true);
    this.trace.access({ space: 'msr', write, address, device: 'lapic', size: 8, value });
  }
}
