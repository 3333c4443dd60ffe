// The results as text: a table for each group.
import type { Group, PeerName } from './measurement.ts';
import { GROUPS, PEERS } from './measurement.ts';
import { isTimes, quickest, type Results, ratioTo, type WorkloadResult } from './results.ts';

const TITLES: Readonly<Record<Group, string>> = {
  linux: '64-bit Linux',
  metal64: 'Bare metal, 64-bit',
  metal32: 'Bare metal, 32-bit',
  storage: 'Disk images, QEMU is qemu-img',
  opening: 'Opening a qcow2 image, QEMU is qemu-img',
  disks: 'Disks of a 64-bit Linux',
};
const PEER_TITLES: Readonly<Record<PeerName, string>> = {
  ring0: 'ring0',
  qemu: 'QEMU',
  v86: 'v86',
  native: 'native',
};
const NOTHING = '-';

/** What else a process cost, where its workload measures that. */
type CostKey = 'cpuSeconds' | 'peakMib';
const COSTS: readonly { readonly key: CostKey; readonly title: string; readonly digits: number }[] =
  [
    { key: 'cpuSeconds', title: 'CPU s', digits: 2 },
    { key: 'peakMib', title: 'MiB', digits: 0 },
  ];

export function report(results: Results): string {
  const [before, after] = results.load.map((load) => load.toFixed(1));
  const lines = [
    `${results.date}, ${results.machine}; rounds: ${results.rounds}; load ${before} to ${after}`,
  ];
  for (const peer of PEERS) {
    const presence = results.versions[peer];
    if (presence === undefined) continue;
    const what = 'absent' in presence ? `absent: ${presence.absent}` : presence.version;
    lines.push(`${PEER_TITLES[peer]}: ${what}`);
  }
  for (const group of GROUPS) {
    const workloads = results.workloads.filter((result) => result.group === group);
    if (workloads.length > 0) lines.push('', ...groupTable(group, workloads, results));
  }
  return `${lines.join('\n')}\n`;
}

function groupTable(
  group: Group,
  workloads: readonly WorkloadResult[],
  results: Results,
): string[] {
  const peers = PEERS.filter((peer) => workloads.some((result) => peer in result.peers));
  const others = peers.filter((peer) => peer !== 'ring0');
  const costs = COSTS.filter(({ key }) => workloads.some((result) => hasCost(result, key)));
  const header = [
    TITLES[group],
    ...peers.map((peer) => `${PEER_TITLES[peer]} s`),
    ...others.flatMap((peer) => [`ring0/${PEER_TITLES[peer]}`, 'quickest']),
    'spread',
    'ns/insn',
    ...costs.flatMap(({ title }) => peers.map((peer) => `${PEER_TITLES[peer]} ${title}`)),
  ];
  const rows = workloads.map((result) => [
    result.workload,
    ...peers.map((peer) => secondsCell(result, peer)),
    ...others.flatMap((peer) => [
      cell(ratioTo(peer, result), 2),
      cell(ratioTo(peer, result, quickest), 2),
    ]),
    spreadCell(result),
    nsCell(result),
    ...costs.flatMap(({ key, digits }) => peers.map((peer) => costCell(result, peer, key, digits))),
  ]);
  const means = [
    'geometric mean',
    ...peers.map(() => ''),
    ...others.flatMap((peer) => {
      const ratio = results.ratios[group]?.[peer];
      return [cell(ratio?.geometricMean, 2), cell(ratio?.ofQuickest, 2)];
    }),
    '',
    '',
    ...costs.flatMap(() => peers.map(() => '')),
  ];
  const failures = workloads.flatMap((result) =>
    peers.flatMap((peer) => {
      const outcome = result.peers[peer];
      return outcome !== undefined && 'failed' in outcome
        ? [`${result.workload} on ${PEER_TITLES[peer]} failed: ${outcome.failed}`]
        : [];
    }),
  );
  return [...align([header, ...rows, means]), ...failures];
}

function secondsCell(result: WorkloadResult, peer: PeerName): string {
  const outcome = result.peers[peer];
  if (outcome === undefined) return NOTHING;
  return isTimes(outcome) ? cell(outcome.medianSeconds, 3) : 'failed';
}

/** The largest of the peers' spreads: the ratio is no better than its worse part. */
function spreadCell(result: WorkloadResult): string {
  const spreads = Object.values(result.peers).flatMap((o) => (isTimes(o) ? [o.spread] : []));
  return spreads.length === 0 ? NOTHING : `${(100 * Math.max(...spreads)).toFixed(0)} %`;
}

function nsCell(result: WorkloadResult): string {
  const own = result.peers.ring0;
  return isTimes(own) ? cell(own.nsPerInstruction, 2) : NOTHING;
}

const hasCost = (result: WorkloadResult, key: CostKey): boolean =>
  Object.values(result.peers).some((outcome) => isTimes(outcome) && outcome[key] !== undefined);

function costCell(result: WorkloadResult, peer: PeerName, key: CostKey, digits: number): string {
  const outcome = result.peers[peer];
  return isTimes(outcome) ? cell(outcome[key], digits) : NOTHING;
}

const cell = (value: number | undefined, digits: number): string =>
  value === undefined ? NOTHING : value.toFixed(digits);

/** Columns of equal width, the first to the left and numbers to the right. */
function align(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  );
  return rows.map((row) =>
    row
      .map((text, i) => (i === 0 ? text.padEnd(widths[i] ?? 0) : text.padStart(widths[i] ?? 0)))
      .join('  ')
      .trimEnd(),
  );
}
