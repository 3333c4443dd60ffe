// From samples to what is kept: medians, ratios, and what failed.
import type { Group, PeerName, Presence, Sample } from './measurement.ts';
import { GROUPS, PEERS } from './measurement.ts';
import { geometricMean, median, spread } from './statistics.ts';

export interface Times {
  readonly medianSeconds: number;
  readonly spread: number;
  readonly seconds: readonly number[];
  readonly result: string;
  /** Counted over the whole process, and so is the time for one. */
  readonly instructions?: number;
  readonly nsPerInstruction?: number;
  readonly cpuSeconds?: number;
  readonly peakMib?: number;
}

export interface Failure {
  readonly failed: string;
}

export interface WorkloadResult {
  readonly group: Group;
  readonly workload: string;
  readonly peers: Partial<Record<PeerName, Times | Failure>>;
}

/** ring0's times over a peer's: above 1 ring0 is slower. */
export interface Ratio {
  readonly geometricMean: number;
  /** The same of the quickest runs: what is left where others disturb the rest. */
  readonly ofQuickest: number;
  readonly workloads: number;
}

export interface Results {
  readonly date: string;
  readonly machine: string;
  readonly rounds: number;
  /** Load averages of the last minute before and in the run: with more than one, others disturbed it. */
  readonly load: readonly [number, number];
  readonly versions: Partial<Record<PeerName, Presence>>;
  readonly workloads: readonly WorkloadResult[];
  readonly ratios: Partial<Record<Group, Partial<Record<PeerName, Ratio>>>>;
}

/** What a peer gave for one workload: its samples, or why there are none. */
export type Gathered = readonly Sample[] | Failure;

/** Whose result is right when two differ: the nearest to the processor. */
const TRUST: readonly PeerName[] = ['native', 'qemu', 'v86', 'ring0'];

export const isTimes = (outcome: Times | Failure | undefined): outcome is Times =>
  outcome !== undefined && !('failed' in outcome);

/** A time counts only with the right result. */
export function judge(
  group: Group,
  workload: string,
  gathered: ReadonlyMap<PeerName, Gathered>,
): WorkloadResult {
  const peers: Partial<Record<PeerName, Times | Failure>> = {};
  const witness = TRUST.find((peer) => isSamples(gathered.get(peer)));
  const trusted = witness === undefined ? undefined : gathered.get(witness);
  const right = isSamples(trusted) ? trusted[0]?.result : undefined;
  for (const peer of PEERS) {
    const given = gathered.get(peer);
    if (given === undefined) continue;
    if (!isSamples(given)) {
      peers[peer] = given;
      continue;
    }
    const wrong = given.find((sample) => sample.result !== right);
    peers[peer] =
      wrong === undefined
        ? timesOf(given)
        : { failed: `result ${wrong.result}, where ${witness} has ${right}` };
  }
  return { group, workload, peers };
}

const isSamples = (given: Gathered | undefined): given is readonly Sample[] =>
  Array.isArray(given) && given.length > 0;

function timesOf(samples: readonly Sample[]): Times {
  const seconds = samples.map((sample) => sample.seconds);
  const times = {
    medianSeconds: median(seconds),
    spread: spread(seconds),
    seconds,
    result: samples[0]?.result ?? '',
    ...mediansOf('cpuSeconds', samples),
    ...mediansOf('peakMib', samples),
  };
  const perInstruction = samples.flatMap(({ instructions, totalSeconds }) =>
    instructions === undefined || totalSeconds === undefined
      ? []
      : [(totalSeconds * 1e9) / instructions],
  );
  const counts = samples.flatMap(({ instructions }) => instructions ?? []);
  if (perInstruction.length === 0) return times;
  return {
    ...times,
    instructions: Math.round(median(counts)),
    nsPerInstruction: median(perInstruction),
  };
}

function mediansOf(key: 'cpuSeconds' | 'peakMib', samples: readonly Sample[]): Partial<Times> {
  const values = samples.flatMap((sample) => sample[key] ?? []);
  return values.length === 0 ? {} : { [key]: median(values) };
}

/** ring0's median over the peer's, where both have one; or another figure of their times. */
export function ratioTo(
  peer: PeerName,
  result: WorkloadResult,
  figure = (times: Times): number => times.medianSeconds,
): number | undefined {
  const own = result.peers.ring0;
  const other = result.peers[peer];
  return isTimes(own) && isTimes(other) ? figure(own) / figure(other) : undefined;
}

export const quickest = ({ seconds }: Times): number => Math.min(...seconds);

export function ratiosOf(workloads: readonly WorkloadResult[]): Results['ratios'] {
  const ratios: Partial<Record<Group, Partial<Record<PeerName, Ratio>>>> = {};
  for (const group of GROUPS) {
    const ofGroup: Partial<Record<PeerName, Ratio>> = {};
    for (const peer of PEERS) {
      if (peer === 'ring0') continue;
      const results = workloads.filter((result) => result.group === group);
      const all = results.flatMap((result) => ratioTo(peer, result) ?? []);
      const best = results.flatMap((result) => ratioTo(peer, result, quickest) ?? []);
      if (all.length > 0)
        ofGroup[peer] = {
          geometricMean: geometricMean(all),
          ofQuickest: geometricMean(best),
          workloads: all.length,
        };
    }
    if (Object.keys(ofGroup).length > 0) ratios[group] = ofGroup;
  }
  return ratios;
}
