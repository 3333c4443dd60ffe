/** What `ring0 run --stats --json` writes as its last line. */
function lastObject(errors: string): object {
  const line = errors.trimEnd().split('\n').at(-1) ?? '';
  if (!line.startsWith('{')) return {};
  const data: unknown = JSON.parse(line);
  return typeof data === 'object' && data !== null ? data : {};
}

/** Nothing where there are no statistics. */
export function parseStats(errors: string): { instructions?: number; totalSeconds?: number } {
  const data = lastObject(errors);
  if (!('instructions' in data) || !('seconds' in data)) return {};
  const { instructions, seconds } = data;
  if (typeof instructions !== 'number' || typeof seconds !== 'number') return {};
  return { instructions, totalSeconds: seconds };
}

/** The longest that the guest waited for translated code, if any was made. */
export function longestPauseMs(errors: string): number | undefined {
  const data = lastObject(errors);
  if (!('translation' in data)) return undefined;
  const { translation } = data;
  if (typeof translation !== 'object' || translation === null) return undefined;
  if (!('longestPauseMs' in translation)) return undefined;
  const ms = translation.longestPauseMs;
  return typeof ms === 'number' ? ms : undefined;
}
