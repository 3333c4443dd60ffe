import type { TranslationStats, VmStats } from '#control/vm.ts';

/** What was executed, as lines for people. */
export function formatStats(stats: VmStats): string {
  const perSecond = stats.seconds > 0 ? stats.instructions / stats.seconds / 1e6 : 0;
  return [
    `instructions  ${grouped(stats.instructions)} in ${stats.seconds.toFixed(2)} s (${perSecond.toFixed(1)} million/s)`,
    `TLB misses    ${grouped(stats.tlbMisses)}`,
    ...(stats.translation ? translation(stats.translation) : []),
    ...table('exits', stats.exits),
    ...table('faults', stats.faults),
    ...table('interrupts', stats.interrupts, (vector) => `vector ${hex(Number(vector))}`),
    '',
  ].join('\n');
}

function translation(t: TranslationStats): string[] {
  const kib = Math.round(t.wasmBytes / 1024);
  return [
    `translated    ${grouped(t.regions)} regions of ${grouped(t.insns)} instructions, ${grouped(kib)} KiB, in ${(t.translateMs / 1000).toFixed(2)} s`,
    `              ${grouped(t.dropped)} dropped, ${grouped(t.refused)} refused`,
  ];
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
