import type { VcpuState } from '#accel/accel.ts';

/** Bytes to be placed at a guest-physical address. */
export interface Placement {
  readonly paddr: number;
  readonly bytes: Uint8Array;
  /** What it takes in memory where that is more than `bytes`: zeros follow them. */
  readonly spanBytes?: number;
}

/** How a guest is started: what lies where, and the state of the boot processor. */
export interface BootPlan {
  readonly writes: readonly Placement[];
  readonly state: Partial<VcpuState>;
}

/** Unpacks at most `limit` bytes. @throws {BootError} `too-large` past them, `unsupported`; another error on bad data. */
export type Decompress = (data: Uint8Array, limit: number) => Uint8Array;

/** A file that the loader lays beside a Multiboot kernel. */
export interface BootModule {
  readonly bytes: Uint8Array;
  readonly cmdline: string;
}

export interface BootInput {
  readonly kernel: Uint8Array;
  /** How the command line of a Multiboot kernel calls it, as its first word. */
  readonly kernelName?: string;
  readonly initrd?: Uint8Array;
  readonly modules?: readonly BootModule[];
  readonly cmdline: string;
  readonly memoryBytes: number;
  /** What messages call the processor, and whether it has long mode. */
  readonly cpu: { readonly name: string; readonly has64: boolean };
  readonly rsdpPaddr: number;
  readonly decompress: {
    readonly gzip: Decompress;
    readonly zstd: Decompress;
    /** The build's lz4.wasm. */
    readonly lz4: () => WebAssembly.Module;
    /** Gives what data unpacks to if it is kept from earlier, else has it unpacked. */
    readonly kept?: (
      data: Uint8Array,
      unpack: () => Uint8Array | undefined,
    ) => Uint8Array | undefined;
  };
}
