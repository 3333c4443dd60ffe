import assert from 'node:assert/strict';
import { it } from 'node:test';
import {
  A_TLB,
  S_AREA,
  S_STAT_FLUSHES,
  TLB_BYTES,
  TLB_ENTRIES,
  TLB_ENTRY_SIZE,
  TLB_LOG_MAX,
} from '#ir/state.ts';
import { Random } from '../x86/random.ts';
import { SystemMachine } from './system-machine.ts';

// The TLBs against a plain list of what was filled and has not been dropped or replaced since. RING0_SEED replays a run.

const STEPS = 1600;
/** So many steps lie between two looks at all entries. */
const LOOK = 10;
const PAGE = 4096n;
/** Data accesses (a mode's for reads, then for writes), fetches, writes beside code. */
const TABLES = 11;
const DATA_TABLES = 6;
const GLOBAL = 2 ** 31;
const LARGE = 2 ** 30;
const HUGE = 2 ** 29;
/** Where pages of 4 KiB, 4 MiB and 1 GiB lie: linear address bits 33:32. */
const SIZES = [
  { flags: 0, bits: 12n },
  { flags: LARGE, bits: 22n },
  { flags: LARGE + HUGE, bits: 30n },
] as const;
const PHYSICAL_PAGES = 8;

interface Entry {
  readonly vaddr: bigint;
  readonly page: number;
}

const sizeOf = (vaddr: bigint) => SIZES[Number(vaddr >> 32n) & 3] ?? SIZES[0];
type Dropped = (entry: Entry, table: number) => boolean;

/** The slots in which two lists differ, and what either has there. */
function differences(held: Map<number, Entry>, model: Map<number, Entry>): unknown[] {
  const slots = new Set([...held.keys(), ...model.keys()]);
  return [...slots].flatMap((slot) => {
    const [a, b] = [held.get(slot), model.get(slot)];
    return a?.vaddr === b?.vaddr && a?.page === b?.page ? [] : [{ slot, held: a, model: b }];
  });
}

const indexOf = (vaddr: bigint) => Number((vaddr / PAGE) % BigInt(TLB_ENTRIES));

class Tlbs {
  /** By table and index. */
  readonly model = new Map<number, Entry>();
  readonly #machine = new SystemMachine();
  readonly #at: number;
  overflows = 0;

  constructor() {
    this.#at = this.#machine.get32(S_AREA) + A_TLB;
  }

  fill(table: number, vaddr: bigint, page: number): void {
    const { cpu } = this.#machine;
    const flushes = this.#machine.get64(S_STAT_FLUSHES);
    this.#machine.call('fillEntry', cpu, this.#at + table * TLB_BYTES, vaddr, 0, page);
    if (this.#machine.get64(S_STAT_FLUSHES) !== flushes) {
      this.model.clear(); // a log was full
      this.overflows++;
    }
    this.model.set(table * TLB_ENTRIES + indexOf(vaddr), { vaddr, page });
  }

  drop(name: string, args: readonly (number | bigint)[], isDropped: Dropped): void {
    this.#machine.call(name, this.#machine.cpu, ...args);
    for (const [slot, entry] of this.model)
      if (isDropped(entry, Math.floor(slot / TLB_ENTRIES))) this.model.delete(slot);
  }

  /** What the TLBs hold, by table and index: entries that some address would hit. */
  held(): Map<number, Entry> {
    const { view } = this.#machine;
    const found = new Map<number, Entry>();
    for (let slot = 0; slot < TABLES * TLB_ENTRIES; slot++) {
      const at = this.#at + slot * TLB_ENTRY_SIZE;
      if ((((view.getUint32(at, true) >>> 12) ^ slot) & 1) !== 0) continue;
      const vaddr = view.getBigUint64(at, true);
      found.set(slot, { vaddr, page: view.getUint32(at + 12, true) });
    }
    return found;
  }
}

function randomPage(random: Random): Entry {
  const size = random.below(SIZES.length);
  const { flags } = SIZES[size] ?? SIZES[0];
  // Few indices, which many pages share, at the ends of pages of each size.
  const low = random.pick([0, 1, 0x1fe, 0x1ff, 0x200, 0x3ff, 0x400, 0x1fff]);
  const high = random.below(4) * random.pick([0x400, TLB_ENTRIES, 0x10000]);
  const global = random.below(2) * GLOBAL;
  return {
    vaddr: (BigInt(size) << 32n) + BigInt(low + high) * PAGE,
    page: flags + global + random.below(PHYSICAL_PAGES),
  };
}

/** Fills few entries until a log overflows: one is noted anew whenever it changes sides. */
function fillOver(tlbs: Tlbs, random: Random): void {
  const { overflows } = tlbs;
  for (let i = 0; i < 16 * TLB_LOG_MAX && tlbs.overflows === overflows; i++) {
    const { vaddr, page } = randomPage(random);
    tlbs.fill(random.below(TABLES), vaddr, page);
  }
}

function step(tlbs: Tlbs, random: Random): void {
  const { vaddr, page } = randomPage(random);
  const what = random.below(100);
  if (what < 80) tlbs.fill(random.below(TABLES), vaddr, page);
  else if (what < 86) tlbs.drop('flushTlb', [0], (entry) => entry.page < GLOBAL);
  else if (what < 87) tlbs.drop('flushTlb', [1], () => true);
  else if (what < 93) {
    const { bits } = sizeOf(vaddr);
    tlbs.drop('flushTlbPage', [vaddr], (entry) => (entry.vaddr ^ vaddr) >> bits === 0n);
  } else {
    const number = page & (PHYSICAL_PAGES - 1);
    tlbs.drop('protectPage', [number], (entry, table) => {
      const isWrite = table < DATA_TABLES && (table & 1) !== 0;
      return isWrite && (entry.page & (PHYSICAL_PAGES - 1)) === number;
    });
  }
}

const fresh = Number(process.env['RING0_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
for (const seed of [1, fresh])
  it(`the TLBs hold what was filled and not dropped, seed ${seed}`, () => {
    const random = new Random(seed);
    const tlbs = new Tlbs();
    for (let i = 0; i < STEPS; i++) {
      if (i % (STEPS / 2) === 0) fillOver(tlbs, random);
      step(tlbs, random);
      if (i % LOOK !== 0) continue;
      assert.deepEqual(differences(tlbs.held(), tlbs.model).slice(0, 3), [], `step ${i}`);
    }
    assert.ok(tlbs.overflows >= 2);
  });
