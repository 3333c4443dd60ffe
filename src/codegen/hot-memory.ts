import type { Inst } from '#ir/block.ts';
import { NO_DELTA, S_TLB_READ, S_TLB_WRITE, TLB_ENTRIES } from '#ir/state.ts';
import type { Access, AddressGroups } from './address-groups.ts';
import type { HotLocals } from './hot-locals.ts';
import type { KeptPages } from './kept-pages.ts';
import type { LocalPool } from './local-pool.ts';
import type { PageCheck } from './page-checks.ts';
import type { KeptPage } from './page-pins.ts';
import { TLB_DELTA } from './tlb-entry.ts';
import type { FunctionBody } from './wasm.ts';

const I32_LOAD = 0x28;
const I64_LOAD = 0x29;
const I32_ADD = 0x6a;
const I32_SUB = 0x6b;
const I32_NE = 0x47;

interface MemoryContext {
  readonly f: FunctionBody;
  readonly locals: HotLocals;
  readonly pool: LocalPool;
  readonly helper: (name: string) => number;
  /** Emits the jump to the code that gives the running instruction to the interpreter. */
  readonly giveUp: () => void;
}

/**
 * Emits where in linear memory the accesses of a region are. Where the TLB does not have a page the instruction is the
 * interpreter's; in regions that have met many such pages core/ is called, once for accesses with a common base. V8 takes longer
 * for such a call, before which all that lives in registers is saved, than for the rest of an instruction.
 */
export class HotMemory {
  readonly #pages: KeptPages;
  readonly groups: AddressGroups;
  readonly #cx: MemoryContext;

  constructor(cx: MemoryContext, pages: KeptPages) {
    this.#cx = cx;
    this.groups = pages.groups;
    this.#pages = pages;
  }

  /**
   * Pushes the linear-memory address of an access: from the TLB, else from core/, which fills it. Where core/ has none, or is
   * not asked, the instruction is the interpreter's.
   */
  pushHost(address: number, width: number, write: boolean, page?: KeptPage): void {
    // The ways meet before the sum: of that V8 knows that nothing is to be cleared above it.
    const f = this.#cx.f.get(address).op(0xa7);
    this.#pushDelta(address, width, write, {
      page,
      pushMissed: () => this.#pushMissed(address, width, write),
    });
    f.op(I32_ADD);
  }

  /** Pushes the distance of the page of an access: what is known of it, or the TLB's, or what `pushMissed` pushes where core/ is asked. */
  #pushDelta(
    address: number,
    width: number,
    write: boolean,
    { page, pushMissed }: { page: KeptPage | undefined; pushMissed: () => void },
  ): void {
    const { f } = this.#cx;
    const entry = this.#cx.pool.take('i32');
    this.#pushKnown(page, address, width);
    this.#pushHit(address, entry, width, write);
    const { servesMisses } = this.#pages;
    if (servesMisses) f.hint(true).if('i32');
    else {
      f.op(0x45).hint(false).if();
      this.#cx.giveUp();
      f.end();
    }
    page?.enter(entry, address);
    f.get(entry).mem(I32_LOAD, TLB_DELTA);
    if (servesMisses) {
      f.else();
      pushMissed();
      f.end();
    }
    if (page !== undefined) f.end();
  }

  /** Begins a choice: what is known of a page, or what is pushed next, up to an `end`. */
  #pushKnown(page: KeptPage | undefined, address: number, width: number): void {
    if (page === undefined) return;
    page.pushHit(address, width);
    this.#cx.f.hint(true).if('i32');
    page.pushDelta();
    this.#cx.f.else();
  }

  /** Leaves the TLB entry of an address in `entry` and pushes 1 when its page has `width` bytes from there on. */
  #pushHit(address: number, entry: number, width: number, write: boolean): void {
    const { locals } = this.#cx;
    const f = this.#cx.f.get(locals.cpu).mem(I32_LOAD, write ? S_TLB_WRITE : S_TLB_READ);
    // V8 leaves out the wrap of what is added.
    f.get(address).i64(8).op(0x88);
    f.i64((TLB_ENTRIES - 1) << 4)
      .op(0x83)
      .op(0xa7)
      .op(I32_ADD)
      .tee(entry);
    f.mem(I64_LOAD, 0)
      .get(address)
      .op(0x85)
      .i64(4096 - width)
      .op(0x58);
  }

  /** Pushes what core/ says of an address: linear-memory address minus virtual one. */
  #pushMissed(address: number, width: number, write: boolean): void {
    const { f } = this.#cx;
    const { locals, helper } = this.#cx;
    const host = this.#cx.pool.take('i32');
    f.get(locals.cpu)
      .get(address)
      .i32(width)
      .call(helper(write ? 'hot_write' : 'hot_read'))
      .tee(host)
      .op(0x45)
      .hint(false)
      .if();
    this.#cx.giveUp();
    f.end().get(host).get(address).op(0xa7).op(I32_SUB);
  }

  /** Pushes what core/ says of the pages of several accesses; NO_DELTA where they have no distance in common. */
  #pushDistance(address: number, span: number, write: boolean): void {
    const { f, locals, helper } = this.#cx;
    f.get(locals.cpu).get(address).i32(span);
    f.i32(write ? 1 : 0).call(helper('hot_distance'));
  }

  /** As `pushHost`, for an access that may have its base in common with others. */
  pushHostOf(start: number, inst: Inst, address: number, width: number): void {
    const write = inst.op.family !== 'load';
    const access = this.groups.accessOf(start, inst);
    const check = access && this.#checkFor(inst, access, { address, width, write });
    if (check === undefined) {
      const pin = access && this.#pages.pinOf(access.root, access.offset, width, write);
      this.pushHost(address, width, write, pin ?? this.#pages.streams.of(inst));
      return;
    }
    const f = this.#cx.f.get(address).op(0xa7);
    if (check.isSure) {
      f.get(check.delta).op(I32_ADD);
      return;
    }
    f.get(check.delta).i32(NO_DELTA).op(I32_NE);
    f.hint(true).if('i32').get(check.delta).else();
    this.#pushMissed(address, width, write);
    f.end().op(I32_ADD);
  }

  /** The check that covers an access: one that has been made, or one that is made now for all that is reached from there. */
  #checkFor(
    inst: Inst,
    access: Access,
    { address, width, write }: { address: number; width: number; write: boolean },
  ): PageCheck | undefined {
    const { root, offset, reach } = access;
    const known = this.groups.checks.get(root);
    if (known !== undefined && covers(known, offset, width, write)) return known;
    if (reach === undefined) return undefined;
    const { f } = this.#cx;
    const { low, high, writes } = reach;
    const isSure = !this.#pages.servesMisses;
    const check = { low, high, writes, isSure, delta: f.local('i32') };
    this.groups.checks.set(root, check);
    const first = this.#cx.pool.take('i64');
    f.get(address);
    if (low !== offset) f.i64(low - offset).op(0x7c);
    f.set(first);
    const stream = writes === write ? this.#pages.streams.of(inst) : undefined;
    const page = this.#pages.pinOf(root, low, high - low, writes) ?? stream;
    const pushMissed = () => this.#pushDistance(first, high - low, writes);
    this.#pushDelta(first, high - low, writes, { page, pushMissed });
    f.set(check.delta);
    return check;
  }
}

function covers(check: PageCheck, offset: number, width: number, write: boolean): boolean {
  return check.low <= offset && offset + width <= check.high && (check.writes || !write);
}
