// What the harness measures, and on what.

export const PEERS = ['ring0', 'qemu', 'v86', 'native'] as const;
export type PeerName = (typeof PEERS)[number];

/** A peer that is here, or why it is not. */
export type Presence = { readonly version: string } | { readonly absent: string };

/** The guest's memory, the same for all. */
export const MEMORY_MIB = 256;

/** Workloads whose times may be set against one another: the same guest code or files, on the same peers. */
export const GROUPS = ['linux', 'metal64', 'metal32', 'storage', 'opening', 'disks'] as const;
export type Group = (typeof GROUPS)[number];

/** One run of one workload. */
export interface Sample {
  readonly seconds: number;
  /** What the workload computed: the same on every peer, or the run has failed. */
  readonly result: string;
  /** Guest instructions of the whole process, and its seconds: where the peer counts them. */
  readonly instructions?: number;
  readonly totalSeconds?: number;
  /** Of the processor, by all threads of the process; and its memory at the most. */
  readonly cpuSeconds?: number;
  readonly peakMib?: number;
}

/** Something that is started once a round on each peer, and gives a sample for each of its workloads. */
export interface Session {
  readonly group: Group;
  readonly workloads: readonly string[];
  readonly peers: readonly PeerName[];
  /** Samples are handed over one by one, so that those before a failure count. */
  run(peer: PeerName, take: (workload: string, sample: Sample) => void): Promise<void>;
  /** Called after the last round: removes files that are large and soon made again. */
  end?(): Promise<void>;
}
