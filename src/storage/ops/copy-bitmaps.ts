import { type BitmapStore, ImageError } from '../image.ts';

/** Bitmaps that say nothing, because their last writer did not close them. */
export async function brokenBitmaps(store: BitmapStore): Promise<readonly string[]> {
  const all = await store.list();
  return all.filter(({ inconsistent }) => inconsistent).map(({ name }) => name);
}

/** Copies all bitmaps that say something, as they are. Those of `target` by the same name are kept, and it fails. */
export async function copyBitmaps(source: BitmapStore, target: BitmapStore): Promise<void> {
  const there = new Set((await target.list()).map(({ name }) => name));
  const all = (await source.list()).filter(({ inconsistent }) => !inconsistent);
  const twice = all.find(({ name }) => there.has(name));
  if (twice !== undefined)
    throw new ImageError('exists', `the target has a bitmap '${twice.name}' already; remove it`);
  for (const { name, granularityBytes, enabled } of all) {
    await target.add(name, { granularityBytes, enabled: false });
    await target.merge(name, name, source);
    if (enabled) await target.setEnabled(name, true);
  }
}
