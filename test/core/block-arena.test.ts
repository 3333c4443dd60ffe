import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  ARENA_SEGMENT_BYTES,
  ARENA_SEGMENTS,
  B_BYTES,
  B_COUNT,
  B_HEADER,
  B_KEY,
  B_PADDR,
  B_PADDR2,
  B_RECORDS,
  BLOCKS_EVICTED,
  REC_SIZE,
  S_KEY,
  S_STAT_EVICTED,
} from '#ir/state.ts';
import { SystemMachine } from './system-machine.ts';

const RECORDS = 60;
const BLOCK_BYTES = B_HEADER + RECORDS * REC_SIZE;
const CODE_BYTES = 8;
const PAGE = 4096;
const PAGES = 1024; // all of RAM
/** As many blocks as the run loop makes between two looks. */
const BETWEEN_LOOKS = 16;
const IN_SEGMENT = Math.floor(ARENA_SEGMENT_BYTES / BLOCK_BYTES);

/** A machine in which blocks are made one behind the other. */
function makeArena(look: boolean) {
  /** Of the call that is under way: blocks that went, in order. */
  let gone: number[] = [];
  const machine = new SystemMachine({
    block_dropped: (block) => {
      gone.push(block >>> 0);
      return 0;
    },
  });
  const { view, cpu } = machine;
  gone = []; // to reset the processor drops all blocks
  const live = new Set<number>();
  let made = 0;
  let most = 0;
  const settle = (): void => {
    const dropped = gone.filter((block) => block !== BLOCKS_EVICTED);
    for (const block of dropped) assert.ok(live.delete(block), 'a block went that was not there');
    most = Math.max(most, dropped.length);
    gone = [];
  };
  const make = (): void => {
    const block = Number(machine.call('new_block', cpu, RECORDS)) >>> 0;
    settle();
    assert.ok(!live.has(block), 'a block takes the place of one that is there');
    const paddr = ((made % PAGES) * PAGE + Math.floor(made / PAGES) * CODE_BYTES) % (PAGES * PAGE);
    for (const [field, value] of [
      [B_PADDR, paddr],
      [B_PADDR2, 0],
      [B_KEY, machine.get32(S_KEY) + Math.floor(made / (PAGES * (PAGE / CODE_BYTES)))],
      [B_COUNT, RECORDS],
      [B_RECORDS, RECORDS],
      [B_BYTES, CODE_BYTES],
    ] as const)
      view.setUint32(block + field, value, true);
    machine.call('add_block', cpu, block);
    live.add(block);
    made++;
    if (look && made % BETWEEN_LOOKS === 0) {
      machine.call('make_room', cpu);
      settle();
    }
  };
  const forget = (): void => {
    gone = [];
  };
  return { machine, live, make, forget, most: () => most };
}

describe('the arena of blocks', () => {
  it('makes room a little at a time, of the oldest blocks', () => {
    const { machine, live, make, most } = makeArena(true);
    const all = IN_SEGMENT * (2 * ARENA_SEGMENTS + 1);
    for (let i = 0; i < all; i++) make();
    const evicted = Number(machine.get64(S_STAT_EVICTED));
    assert.equal(evicted, all - live.size);
    assert.ok(live.size > (ARENA_SEGMENTS - 2) * IN_SEGMENT, `${live.size} blocks are left`);
    assert.ok(most() > 0 && most() <= 8 * BETWEEN_LOOKS, `${most()} blocks went at once`);
  });

  it('makes room all at once where nothing looks around', () => {
    const { live, make, most } = makeArena(false);
    for (let i = 0; i < IN_SEGMENT * (ARENA_SEGMENTS + 2); i++) make();
    assert.ok(live.size > (ARENA_SEGMENTS - 1) * IN_SEGMENT, `${live.size} blocks are left`);
    assert.ok(most() >= IN_SEGMENT, `${most()} blocks went at once`);
  });

  it('begins anew when all blocks have been dropped', () => {
    const { machine, live, make, forget } = makeArena(true);
    for (let i = 0; i < IN_SEGMENT * 3; i++) make();
    const before = machine.get64(S_STAT_EVICTED);
    machine.call('drop_blocks', machine.cpu);
    live.clear();
    forget();
    const again = IN_SEGMENT * (ARENA_SEGMENTS - 1);
    for (let i = 0; i < again; i++) make();
    assert.equal(live.size, again);
    assert.equal(machine.get64(S_STAT_EVICTED), before);
  });
});
