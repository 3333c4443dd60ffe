import type { HotFunction, TranslationStats, VmStats } from '#control/vm.ts';

/** What was executed, as lines for people. */
export function formatStats(stats: VmStats): string {
  const { seconds, asleepSeconds, blocks } = stats;
  const awake = seconds - asleepSeconds;
  const perSecond = awake > 0 ? stats.instructions / awake / 1e6 : 0;
  return [
    `time          ${seconds.toFixed(2)} s, ${asleepSeconds.toFixed(2)} of them asleep`,
    `instructions  ${grouped(stats.instructions)} (${perSecond.toFixed(1)} million/s awake)`,
    `TLB           ${grouped(stats.tlbMisses)} misses, ${grouped(stats.pageWalks)} page walks, ${grouped(stats.tlbFlushes)} flushes`,
    `blocks        ${grouped(blocks.made)} made, ${grouped(blocks.dropped)} dropped, ${grouped(blocks.evicted)} evicted`,
    ...(stats.translation ? translation(stats.translation, stats.instructions) : []),
    ...table('exits', stats.exits),
    ...table('faults', stats.faults),
    ...table('interrupts', stats.interrupts, (vector) => `vector ${hex(Number(vector))}`),
    ...hottest(stats.hottest ?? []),
    ...list('not there for the guest', stats.missing),
    '',
  ].join('\n');
}

function translation(t: TranslationStats, instructions: number): string[] {
  const each = t.runs > 0 ? t.executed / t.runs : 0;
  const share = (100 * t.executed) / Math.max(1, instructions);
  const kib = Math.round(t.wasmBytes / 1024);
  return [
    `translated    ${grouped(t.regions)} regions of ${grouped(t.insns)} instructions, ${grouped(t.kept)} regions from earlier runs, ${grouped(kib)} KiB, in ${(t.translateMs / 1000).toFixed(2)} s`,
    `              ${grouped(t.executed)} instructions (${share.toFixed(1)} %) executed in it, ${each.toFixed(0)} at a time, ${grouped(t.leftCold)} left to the interpreter`,
    `              ${grouped(t.dropped)} dropped, ${grouped(t.evicted)} of them for room, ${grouped(t.refused)} refused; the guest waited ${t.longestPauseMs.toFixed(1)} ms for it at most`,
  ];
}

function hottest(functions: readonly HotFunction[]): string[] {
  const percent = (share: number) => `${(share * 100).toFixed(1)} %`.padStart(8);
  return list(
    'hottest functions of the guest',
    functions.map(({ name, mode, share }) => `${percent(share)}  ${mode.padEnd(8)}${name}`),
  );
}

function list(title: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : [title, ...lines.map((line) => `  ${line}`)];
}

function table(
  title: string,
  counts: Readonly<Record<string, number>>,
  nameOf: (key: string) => string = (key) => key,
): string[] {
  const rows = Object.entries(counts)
    .filter(([, count]) => count > 0)
    .sort(([, a], [, b]) => b - a);
  if (rows.length === 0) return [`${title.padEnd(14)}none`];
  return [
    title,
    ...rows.map(([key, count]) => `  ${nameOf(key).padEnd(24)}${grouped(count).padStart(16)}`),
  ];
}

function grouped(count: number): string {
  return count.toLocaleString('en-US');
}

function hex(value: number): string {
  return `0x${value.toString(16).padStart(2, '0')}`;
}
