/** What `ring0 run --stats --json` writes as its last line; nothing where it wrote none. */
export function parseStats(errors: string): { instructions?: number; totalSeconds?: number } {
  const line = errors.trimEnd().split('\n').at(-1) ?? '';
  if (!line.startsWith('{')) return {};
  const data: unknown = JSON.parse(line);
  if (typeof data !== 'object' || data === null) return {};
  if (!('instructions' in data) || !('seconds' in data)) return {};
  const { instructions, seconds } = data;
  if (typeof instructions !== 'number' || typeof seconds !== 'number') return {};
  return { instructions, totalSeconds: seconds };
}
