import type { VmStats } from '#control/vm.ts';
import type { SoftwareVcpu } from '#cpu/vcpu.ts';
import {
  S_STAT_BLOCKS,
  S_STAT_DROPPED,
  S_STAT_EVICTED,
  S_STAT_FAULTS,
  S_STAT_FLUSHES,
  S_STAT_TLB_MISS,
  S_STAT_WALKS,
} from '#ir/state.ts';
import type { ExitCounts } from './board-host.ts';
import { exceptionName } from './exception-names.ts';

const EXCEPTIONS = 32;

/** What a VM that has not run yet has done. */
export const NO_STATS: VmStats = {
  instructions: 0,
  exits: {},
  tlbMisses: 0,
  tlbFlushes: 0,
  pageWalks: 0,
  faults: {},
  interrupts: {},
  blocks: { made: 0, dropped: 0, evicted: 0 },
  missing: [],
  asleepSeconds: 0,
  seconds: 0,
};

/** What a virtual CPU has done since power-on; `cpu` is the address of its state. */
export function readStats(
  view: DataView,
  cpu: number,
  vcpu: SoftwareVcpu,
  exits: ExitCounts,
  seconds: number,
): VmStats {
  const long = (field: number) => Number(view.getBigUint64(cpu + field, true));
  const fault = (vector: number) => view.getUint32(cpu + S_STAT_FAULTS + vector * 4, true);
  return {
    instructions: vcpu.instructions,
    exits: { ...exits, hlt: vcpu.halts, boundary: vcpu.boundaries },
    tlbMisses: long(S_STAT_TLB_MISS),
    tlbFlushes: long(S_STAT_FLUSHES),
    pageWalks: long(S_STAT_WALKS),
    faults: present(Array.from({ length: EXCEPTIONS }, (_, i) => [exceptionName(i), fault(i)])),
    interrupts: present(Array.from(vcpu.interrupts, (count, vector) => [`${vector}`, count])),
    blocks: {
      made: long(S_STAT_BLOCKS),
      dropped: long(S_STAT_DROPPED),
      evicted: long(S_STAT_EVICTED),
    },
    missing: [],
    ...(vcpu.hotStats && { translation: vcpu.hotStats }),
    ...(vcpu.lockstepStats && { verified: { ...vcpu.lockstepStats } }),
    asleepSeconds: vcpu.asleepNs / 1e9,
    seconds,
  };
}

function present(counts: readonly (readonly [string, number])[]): Record<string, number> {
  return Object.fromEntries(counts.filter(([, count]) => count > 0));
}

/** Of a guest that was restarted: what it did before and after. */
export function addStats(a: VmStats, b: VmStats): VmStats {
  return {
    instructions: a.instructions + b.instructions,
    exits: addCounts(a.exits, b.exits),
    tlbMisses: a.tlbMisses + b.tlbMisses,
    tlbFlushes: a.tlbFlushes + b.tlbFlushes,
    pageWalks: a.pageWalks + b.pageWalks,
    faults: addCounts(a.faults, b.faults),
    interrupts: addCounts(a.interrupts, b.interrupts),
    blocks: addCounts(a.blocks, b.blocks),
    missing: [],
    ...addOptional('translation', a, b, addTranslations),
    ...addOptional('verified', a, b, addCounts),
    ...addOptional('disturbed', a, b, addCounts),
    asleepSeconds: a.asleepSeconds + b.asleepSeconds,
    seconds: a.seconds + b.seconds,
  };
}

/** Counts that not every VM has. */
function addOptional<K extends 'translation' | 'verified' | 'disturbed'>(
  name: K,
  { [name]: a }: VmStats,
  { [name]: b }: VmStats,
  add: (a: NonNullable<VmStats[K]>, b: NonNullable<VmStats[K]>) => VmStats[K],
): Pick<VmStats, K> | Record<never, never> {
  const sum = a === undefined || b === undefined ? (a ?? b) : add(a, b);
  return sum === undefined ? {} : { [name]: sum };
}

type Translation = NonNullable<VmStats['translation']>;

function addTranslations(a: Translation, b: Translation): Translation {
  const longestPauseMs = Math.max(a.longestPauseMs, b.longestPauseMs);
  return { ...addCounts({ ...a }, { ...b }), longestPauseMs };
}

/** The sums of numbers of the same name. */
function addCounts<T extends { readonly [name: string]: number }>(a: T, b: T): T {
  const sums = Object.fromEntries(Object.entries(b).map(([k, n]) => [k, n + (a[k] ?? 0)]));
  return { ...a, ...sums };
}
