import type { VcpuState } from '#accel/accel.ts';

/** Bytes to be placed at a guest-physical address. */
export interface Placement {
  readonly paddr: number;
  readonly bytes: Uint8Array;
}

/** How a guest is started: what lies where, and the state of the boot processor. */
export interface BootPlan {
  readonly writes: readonly Placement[];
  readonly state: Partial<VcpuState>;
}

/** Unpacks at most `limit` bytes; throws on bad data. */
export type Decompress = (data: Uint8Array, limit: number) => Uint8Array;

export interface BootInput {
  readonly kernel: Uint8Array;
  readonly initrd?: Uint8Array;
  readonly cmdline: string;
  readonly memoryBytes: number;
  readonly rsdpPaddr: number;
  readonly decompress: { readonly gzip: Decompress; readonly zstd: Decompress };
}
