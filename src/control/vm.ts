/** What a trace may hold: executed instructions, interrupts and exceptions, TLB misses and faults, device accesses. */
export type TraceKind = 'insn' | 'int' | 'mmu' | 'io';

/** A virtual machine as its user describes it; files come as their bytes, so that it also runs where there are none. */
export interface VmConfig {
  /** A multiple of 4096. */
  memoryBytes: number;
  /** bzImage, ELF vmlinux (PVH or 64-bit entry) or Multiboot 1: told apart by content. */
  kernel?: Uint8Array;
  /** What messages call the kernel: its path. */
  kernelName?: string;
  initrd?: Uint8Array;
  initrdName?: string;
  /** Multiboot modules, in order. */
  modules?: { bytes: Uint8Array; cmdline: string }[];
  /** A ROM image: the machine starts in it at the reset vector, in real mode. */
  firmware?: Uint8Array;
  /** The kernel's command line. */
  append: string;
  disks?: readonly DiskConfig[];
  /** Without kernel and firmware: kernel and initrd are taken out of the first disk's file system. */
  bootDisk?: boolean;
  cpuModel: string;
  accel: 'auto' | 'software';
  /** A guest that resets ends `run` instead of being restarted. */
  noReboot: boolean;
  /** A folder where translated code is kept for the next run of the same guest. Without it each run translates anew. */
  translationCache?: string;
  /** False: all is interpreted; `at-once`: nearly all is translated before it runs, which is slow; else what runs often is. */
  translate?: boolean | 'at-once';
  /** Whatever translated code does the interpreter does too, and the results are compared: slow, for finding our faults. */
  verify?: boolean;
  /** Interrupts and page faults without cause, TLB flushes and void code at random moments, which this seed gives again. */
  disturb?: number;
  /** Without `file` it goes to standard error. */
  trace?: { kinds: TraceKind[]; file?: string };
  /** File for a sampling profile of the guest, in the format of browsers (`.cpuprofile`). */
  profile?: string;
  /** A vmlinux or a System.map: gives profiles, traces and crash reports names. */
  symbols?: Uint8Array;
  /** Where a crashed guest's memory and state go, an ELF core file each; `keep`: older ones that are left in `dir`. */
  dump?: { dir: string; keep?: number };
  /** Count what is executed; without it `stats()` has the totals alone. */
  stats: boolean;
}

/** A disk of the machine, in the order given. */
export interface DiskConfig {
  /** By which it is removed, each once. Without one it is `disk0`, `disk1`, …: the first that is free. */
  id?: string;
  /** A file or block device of the host. */
  path: string;
  /** Name of an image format. Without one it is found by looking, which a guest that writes its own header can mislead. */
  format?: string;
  bus: DiskBus;
  /** Disks of the buses `nvme` and `scsi` with the same name here share a controller. Without one a disk has its own. */
  controller?: string;
  /** Its number there: NVMe's namespace identifier, from 1, SCSI's logical unit number, from 0; else the first that is free. */
  unit?: number;
  /**
   * `writeback`: the host caches, and a flush makes it write. `none`: requests pass its cache by (O_DIRECT) where the file
   * system takes that; flushes are passed on too. `unsafe`: the guest's flushes are not passed on.
   */
  cache: 'writeback' | 'none' | 'unsafe';
  readOnly: boolean;
  /** At most 20 characters. */
  serial?: string;
  /** What the guest writes is thrown away at the end. */
  snapshot: boolean;
  /** When the host has no room: the guest waits until there is some (the default), or gets an error. */
  onFull?: 'wait' | 'report';
  limits?: IoLimits;
}

/** A rate in the long run, and a higher one for so long at a time as what was not used before allows. */
export interface RateLimit {
  readonly perSecond: number;
  readonly burst?: { readonly perSecond: number; readonly seconds: number };
}

/** Of reads and writes together, and of each. Flushes and discards count as writes of no bytes. */
export interface KindLimits {
  readonly total?: RateLimit;
  readonly read?: RateLimit;
  readonly write?: RateLimit;
}

/** What a disk may do. */
export interface IoLimits {
  readonly requests?: KindLimits;
  readonly bytes?: KindLimits;
  /** A larger request counts as several. */
  readonly bytesPerRequest?: number;
}

/** A disk that the machine has now. */
export interface DiskStatus {
  readonly id: string;
  readonly path: string;
  readonly format: string;
  readonly bus: DiskBus;
  readonly controller?: string;
  /** On its controller: see DiskConfig. */
  readonly unit: number;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly snapshot: boolean;
  /** The guest has been asked to give it up. */
  readonly isLeaving: boolean;
}

/** `virtio`, `scsi`, `nvme`: PCI cards. `virtio-mmio`, of version 2 or 1: for kernels that learn of it from ACPI's tables. */
export type DiskBus = 'virtio' | 'nvme' | 'scsi' | 'virtio-mmio' | 'virtio-mmio-legacy';

export interface Vm {
  /** What the user should know of how the machine was made, in lines. */
  readonly warnings: readonly string[];
  /**
   * Hears, in lines, what the user should know while the guest runs: the host's disk fills up, a request waits for room, the
   * guest has halted for good.
   */
  onWarning(listener: (line: string) => void): void;
  /** The first serial port. Output that comes before a listener is there waits for it. */
  readonly console: {
    onOutput(listener: (bytes: Uint8Array) => void): void;
    /** Queued until the guest reads it. */
    write(bytes: Uint8Array): void;
  };
  disks(): readonly DiskStatus[];
  /**
   * Plugs a disk in, while the guest runs too, which must know ACPI's PCI hotplug. Resolves with its id.
   * @throws {RequestError} when the file cannot be used, the id is taken, or no slot is free.
   */
  addDisk(config: DiskConfig): Promise<string>;
  /**
   * Asks the guest to give a disk up; resolves when it has, or has ended or was reset, and the file is complete and closed.
   * With `force` it is taken away at once: what the guest has not yet written is lost. A virtio card then answers with errors
   * until the guest gives it up. A disk that shares its controller is taken at once in either way, and the guest told: unmount
   * it there first.
   * @throws {RequestError} when there is no such disk.
   */
  removeDisk(id: string, options?: { readonly force?: boolean }): Promise<void>;
  /**
   * Gives a disk another size, a multiple of 512, and tells the guest. With `shrink` it may lose its end.
   * @throws {RequestError} when there is no such disk, or it keeps its size.
   */
  resizeDisk(id: string, sizeBytes: number, options?: { readonly shrink?: boolean }): Promise<void>;
  /** Gives a disk other limits, or with undefined none. @throws {RequestError} when there is no such disk. */
  limitDisk(id: string, limits: IoLimits | undefined): void;
  /** Runs the guest from power-on until it ends. Called once; after `stop` it resolves with `stopped`. */
  run(): Promise<VmExit>;
  /** Makes `run` resolve with `stopped`, and resolves when threads and files are released. Does nothing the second time. */
  stop(): Promise<void>;
  stats(): VmStats;
}

export type VmExit =
  | { readonly type: 'power-off' }
  /** Only with `noReboot`. */
  | { readonly type: 'reset' }
  /** The guest wrote a byte V to the debug-exit port; `status` is 2 * V + 1. */
  | { readonly type: 'debug-exit'; readonly status: number }
  | {
      readonly type: 'crash';
      /** One line: `triple fault`, … */
      readonly reason: string;
      /** vCPU state and the last instructions, in lines. */
      readonly report: string;
      readonly dumpFile?: string;
      /** Why there is none though one was asked for. */
      readonly dumpFailed?: string;
    }
  /** With `verify`: translated code and the interpreter have come to different results. */
  | { readonly type: 'difference'; readonly report: string }
  | { readonly type: 'stopped' };

export interface VmStats {
  /** Guest instructions completed. */
  readonly instructions: number;
  /** By reason: `port`, `mmio`, `msr` (of the APIC), `cpuid`, `hlt`; `boundary`: looks at the clock and at interrupts. */
  readonly exits: Readonly<Record<string, number>>;
  /** Of data accesses. */
  readonly tlbMisses: number;
  readonly tlbFlushes: number;
  /** Of fetches too. */
  readonly pageWalks: number;
  /** By exception: `#PF`, `#GP`, … */
  readonly faults: Readonly<Record<string, number>>;
  /** By vector. */
  readonly interrupts: Readonly<Record<number, number>>;
  /** Decoded pieces of code: made, dropped because their bytes changed, and evicted to make room for others. */
  readonly blocks: { readonly made: number; readonly dropped: number; readonly evicted: number };
  /** Of the translated code, when there is any. */
  readonly translation?: TranslationStats;
  /** With `verify`: runs of translated code that were compared, instructions in them, runs that wrote too much for it. */
  readonly verified?: {
    readonly compared: number;
    readonly instructions: number;
    readonly skipped: number;
  };
  /** With `disturb`: what happened without cause. */
  readonly disturbed?: {
    readonly interrupts: number;
    readonly faults: number;
    readonly flushes: number;
    readonly rewrites: number;
  };
  /** Where the time awake went, by sampling: functions, largest share first. Only with `stats`. */
  readonly hottest?: readonly HotFunction[];
  /** What the guest asked for that is not there: ports, MSRs, instructions; each once. */
  readonly missing: readonly string[];
  /** Host time that the guest was halted with nothing to do. */
  readonly asleepSeconds: number;
  /** Host time in `run`. */
  readonly seconds: number;
}

export interface HotFunction {
  /** A symbol; where there is none, the page as `0x…000…`. */
  readonly name: string;
  /** `kernel` or `user`. */
  readonly mode: string;
  /** Of 1. */
  readonly share: number;
}

export interface TranslationStats {
  /** Times that translated code was entered, and that it left an instruction to the interpreter; instructions in it. */
  readonly runs: number;
  readonly leftCold: number;
  readonly executed: number;
  /** Regions put to use, taken out of use because their code changed or they were made again, and refused; instructions in them. */
  readonly regions: number;
  /** Of the regions those that an earlier run had translated. */
  readonly kept: number;
  readonly dropped: number;
  /** Of those dropped, the ones that made room for others. */
  readonly evicted: number;
  readonly refused: number;
  readonly insns: number;
  readonly wasmBytes: number;
  /** Time of the translating thread. */
  readonly translateMs: number;
  /** The longest time that the guest has waited at once for translated code to be put in place. */
  readonly longestPauseMs: number;
}
