/** As Promise.all, but not before all have ended: until then each may use the memory that it was given. */
export async function settle<T>(parts: readonly Promise<T>[]): Promise<T[]> {
  // For one it is the same, and costs less.
  if (parts.length < 2) return await Promise.all(parts);
  const results = await Promise.allSettled(parts);
  return results.map((result) => {
    if (result.status === 'rejected') throw result.reason;
    return result.value;
  });
}

/** A part that is waited for later: that it fails before is no failure that nobody hears of. */
export function begun<T>(part: Promise<T>): Promise<T> {
  part.catch(() => {});
  return part;
}
