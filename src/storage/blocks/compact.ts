import type { HostFile } from '../image.ts';
import type { Tail } from './tail.ts';

const COPY_BYTES = 4 << 20;

/** A unit's room in the file, with all that belongs to it. */
export interface Block {
  readonly unit: number;
  readonly hostOffsetBytes: number;
}

/** What a format whose files have no lists of free room does when room was freed, or is wanted for its tables. */
export interface Blocks {
  readonly file: HostFile;
  readonly tail: Tail;
  readonly blockBytes: number;
  /** Calls for each block. */
  each(visit: (block: Block) => void): Promise<void>;
  /** The block of `unit`, which was copied, lies at `hostOffsetBytes` now. */
  moved(unit: number, hostOffsetBytes: number): Promise<void>;
  commit(): Promise<void>;
}

/**
 * Moves the last blocks into the room that was freed. Where the blocks end then; undefined: nothing is free.
 * Wherever it is cut, each unit has one whole block.
 */
export async function compact(blocks: Blocks): Promise<number | undefined> {
  const { tail, blockBytes } = blocks;
  const holes = tail.takeFreed();
  const [lowest] = holes;
  if (lowest === undefined) return undefined;
  // Where this fails nobody gets a hole that a block was moved to, or may have been.
  let used = 0;
  try {
    const above: Block[] = [];
    await blocks.each((block) => {
      if (block.hostOffsetBytes > lowest) above.push(block);
    });
    above.sort((a, b) => a.hostOffsetBytes - b.hostOffsetBytes);
    for (const hole of holes) {
      const last = above.at(-1);
      if (last === undefined || last.hostOffsetBytes < hole) break;
      above.pop();
      used++;
      await move(blocks, last, hole);
    }
    await blocks.commit();
    let end = lowest;
    await blocks.each(({ hostOffsetBytes }) => {
      end = Math.max(end, hostOffsetBytes + blockBytes);
    });
    return end;
  } catch (error) {
    for (const hole of holes.slice(used).reverse()) tail.putBack(hole);
    throw error;
  }
}

/** Moves all blocks that start before `limitBytes` behind it, and behind all others. */
export async function evacuate(blocks: Blocks, limitBytes: number): Promise<void> {
  const { tail, blockBytes } = blocks;
  const low: Block[] = [];
  await blocks.each((block) => {
    if (block.hostOffsetBytes < limitBytes) low.push(block);
  });
  tail.skipTo(limitBytes);
  for (const block of low) await move(blocks, block, tail.takeNew(blockBytes).hostOffsetBytes);
  await blocks.commit();
}

async function move(blocks: Blocks, { unit, hostOffsetBytes }: Block, to: number): Promise<void> {
  const { file, blockBytes } = blocks;
  for (let done = 0; done < blockBytes; done += COPY_BYTES) {
    const bytes = new Uint8Array(Math.min(COPY_BYTES, blockBytes - done));
    await file.read(hostOffsetBytes + done, bytes);
    await file.write(to + done, bytes);
  }
  await blocks.moved(unit, to);
}
