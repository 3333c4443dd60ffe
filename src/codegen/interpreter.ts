import type { Block } from '#ir/block.ts';
import type { Helper } from '#ir/helpers.ts';
import {
  A_JUMP_CACHE,
  A_JUMP_LOG,
  B_COUNT,
  B_HEADER,
  B_HEAT,
  B_LIN,
  B_LIN_GEN,
  JUMP_ENTRIES,
  JUMP_LOG_ENTRIES,
  KEY_CODE64,
  LINK_NEAR,
  REC_LINK,
  REC_LINK2,
  REC_NEXT,
  REC_SIZE,
  REGION_BOUNDARY,
  REGION_COLD,
  RUN_BOUNDARY,
  S_AREA,
  S_ATTENTION,
  S_BLOCK,
  S_BUDGET,
  S_CHILLED,
  S_EFLAGS,
  S_HALTED,
  S_IRQ_PENDING,
  S_JUMP_GEN,
  S_JUMP_LOGGED,
  S_KEY,
  S_REC,
  S_RIP,
  S_STAT_REGION_COLD,
  S_STAT_REGION_INSNS,
  S_STAT_REGION_RUNS,
} from '#ir/state.ts';
import { RECENT_BYTES, S_RECENT, S_RECENT_AT } from '#ir/state-system.ts';
import { ColdEmitter, pushTarget } from './cold-emitter.ts';
import { LocalPool } from './local-pool.ts';
import { REGION_TYPE } from './region-builder.ts';
import { FunctionBody, ModuleWriter } from './wasm.ts';

/** The meaning of one or more forms of instructions, with operands bound to fields of a record. */
export interface HandlerSource {
  readonly block: Block;
  readonly opSize: 2 | 4 | 8;
}

export interface InterpreterLayout {
  /** Handler 0 leads back to the dispatcher; the inlined ones follow, then those called that go on, then those that end. */
  readonly inline: readonly HandlerSource[];
  readonly called: readonly HandlerSource[];
  readonly ending: readonly HandlerSource[];
}

const I32_LOAD = 0x28;
const I64_LOAD = 0x29;
const I32_STORE = 0x36;
const I64_STORE = 0x37;
const HOT_TABLE = 0;
const OWN_TABLE = 1;
const HANDLER = { params: ['i32', 'i32'], result: 'void' } as const;

/** Builds the cold tier's module: exports `run(cpu) → RUN_…`; imports the memory and the helpers of core/. */
export class InterpreterBuilder {
  readonly #module = new ModuleWriter();
  readonly #helpers = new Map<string, number>();
  readonly #layout: InterpreterLayout;

  constructor(layout: InterpreterLayout, helpers: Readonly<Record<string, Helper>>) {
    this.#layout = layout;
    this.#module.importTable('env', 'hot');
    for (const [name, { params, result }] of Object.entries(helpers)) {
      this.#helpers.set(
        name,
        this.#module.import('core', name, { params: ['i32', ...params], result }),
      );
    }
  }

  build(maxMemoryPages: number): Uint8Array {
    const { called, ending } = this.#layout;
    const table = [...called.map((h) => this.#handler(h)), ...ending.map((h) => this.#handler(h))];
    this.#module.table(table);
    this.#module.export('run', this.#module.function(this.#run()));
    return this.#module.encode(maxMemoryPages);
  }

  #helper = (name: string): number => {
    const index = this.#helpers.get(name);
    if (index === undefined) throw new Error(`interpreter: helper ${name} is not declared`);
    return index;
  };

  #handler({ block, opSize }: HandlerSource): number {
    const f = new FunctionBody(HANDLER.params, HANDLER.result);
    const terminate = (kind: string, operand: number | undefined) => {
      if (kind === 'end_dispatch') return;
      if (kind === 'branch') f.get(operand ?? 0).if();
      if (kind === 'jump' || kind === 'branch') this.#storeTarget(f, 0, 1, opSize);
      if (kind === 'branch') f.else();
      if (kind === 'branch' || kind === 'end_next') this.#storeNext(f, 0, 1);
      if (kind === 'branch') f.end();
      if (kind === 'goto') this.#storeGoto(f, 0, operand ?? 0);
    };
    const pool = new LocalPool(f);
    new ColdEmitter({ f, cpu: 0, rec: 1, pool, helper: this.#helper, terminate }).emit(block);
    return this.#module.function(f);
  }

  #storeTarget(f: FunctionBody, cpu: number, rec: number, opSize: number): void {
    f.get(cpu);
    pushTarget(f, cpu, rec, opSize);
    f.mem(I64_STORE, S_RIP);
  }

  #storeNext(f: FunctionBody, cpu: number, rec: number): void {
    f.get(cpu)
      .get(cpu)
      .mem(I64_LOAD, S_RIP)
      .get(rec)
      .mem(0x2f, REC_NEXT)
      .op(0xad)
      .op(0x7c)
      .mem(I64_STORE, S_RIP);
  }

  #storeGoto(f: FunctionBody, cpu: number, operand: number): void {
    f.get(cpu).get(operand).mem(I64_STORE, S_RIP);
  }

  /**
   * run(cpu):
   *   loop dispatch            find the block at RIP
   *     loop enter             count it, look at attention
   *       loop next            one record
   *         block … block      a label for each inlined handler, the default calls through the table
   */
  #run(): FunctionBody {
    const f = new FunctionBody(['i32'], 'i32');
    const cpu = 0;
    const rec = f.local('i32');
    const blk = f.local('i32');
    const id = f.local('i32');
    const cold = f.local('i32');
    const pool = new LocalPool(f);
    const { inline } = this.#layout;
    f.loop();
    this.#findBlock(f, { cpu, blk, rec });
    f.loop();
    this.#enterRegion(f, { cpu, blk, id, cold });
    this.#enterBlock(f, { cpu, rec, blk });
    f.loop();
    for (let i = 0; i <= inline.length + 1; i++) f.block();
    f.get(rec).mem(0x2f, 0).tee(id);
    // br_table: 0 is the outermost label but the default one.
    f.code.byte(0x0e).u(inline.length + 1);
    for (let i = 0; i <= inline.length; i++) f.code.u(i);
    f.code.u(inline.length + 1);
    f.end();
    // Handler 0: the block was dropped while it ran.
    f.get(cpu)
      .get(cpu)
      .mem(I64_LOAD, S_RIP)
      .get(rec)
      .mem(0x2f, 12)
      .op(0xad)
      .op(0x7c)
      .mem(I64_STORE, S_RIP);
    f.br(inline.length + 3);
    inline.forEach((source, i) => {
      f.end();
      // Inside: `rest` labels of handlers and the default, then next, enter, dispatch.
      const rest = inline.length - i;
      this.#inlineHandler(f, source, { cpu, rec, blk, pool, rest });
    });
    f.end();
    this.#callThrough(f, { cpu, rec, id });
    f.end().end().end();
    f.op(0x00);
    return f;
  }

  #findBlock(f: FunctionBody, at: { cpu: number; blk: number; rec: number }): void {
    const { cpu, blk, rec } = at;
    f.get(cpu).i32(0).mem(I32_STORE, S_REC);
    f.get(cpu).mem(I32_LOAD, S_HALTED);
    f.get(cpu)
      .mem(I32_LOAD, S_IRQ_PENDING)
      .get(cpu)
      .mem(I32_LOAD, S_EFLAGS)
      .i32(9)
      .op(0x76)
      .op(0x71);
    f.op(0x72).if().i32(RUN_BOUNDARY).op(0x0f).end();
    f.get(cpu).call(this.#helper('find_block')).set(blk);
    this.#logJump(f, cpu, rec);
  }

  /** Writes down where the block left last went: what the hot tier takes to be the targets of indirect jumps. */
  #logJump(f: FunctionBody, cpu: number, at: number): void {
    f.get(cpu).get(cpu).mem(I32_LOAD, S_JUMP_LOGGED).i32(1).op(0x6a).tee(at);
    f.mem(I32_STORE, S_JUMP_LOGGED);
    f.get(cpu)
      .mem(I32_LOAD, S_AREA)
      .get(at)
      .i32(JUMP_LOG_ENTRIES - 1)
      .op(0x71);
    f.i32(4).op(0x74).op(0x6a).tee(at).get(cpu).mem(I32_LOAD, S_BLOCK).mem(I32_STORE, A_JUMP_LOG);
    f.get(at)
      .get(cpu)
      .mem(I64_LOAD, S_RIP)
      .mem(I64_STORE, A_JUMP_LOG + 8);
  }

  /**
   * Counts the block's entries; where a region has been made of it, runs that instead, unless all is interpreted for a
   * while. `cold` is set while the instruction at RIP is one that a region has left to the interpreter.
   */
  #enterRegion(f: FunctionBody, at: { cpu: number; blk: number; id: number; cold: number }): void {
    const { cpu, blk, id, cold } = at;
    // A block that is no longer valid is looked for anew.
    f.get(blk).mem(I32_LOAD, B_COUNT).op(0x45).brIf(1);
    f.get(blk).mem(I32_LOAD, B_HEAT).tee(id).if();
    f.get(id).i32(0).op(0x4a).if();
    f.get(blk).get(id).i32(1).op(0x6b).tee(id).mem(I32_STORE, B_HEAT);
    f.get(id).op(0x45).if().get(cpu).get(blk).call(this.#helper('block_hot')).end();
    f.else().get(cold).get(cpu).mem(I32_LOAD, S_CHILLED).op(0x72).op(0x45).if();
    f.get(cpu);
    this.#count(f, cpu, S_STAT_REGION_RUNS, () => f.i64(1));
    f.get(cpu).mem(I32_LOAD, S_BUDGET).set(cold);
    f.i32(0).get(id).op(0x6b);
    f.code.byte(0x11).u(this.#module.type(REGION_TYPE)).u(HOT_TABLE);
    f.set(id);
    this.#count(f, cpu, S_STAT_REGION_INSNS, () =>
      f.get(cold).get(cpu).mem(I32_LOAD, S_BUDGET).op(0x6b).op(0xac),
    );
    this.#count(f, cpu, S_STAT_REGION_COLD, () => f.get(id).i32(REGION_COLD).op(0x46).op(0xad));
    f.get(id).tee(cold).i32(REGION_BOUNDARY).op(0x46).if().i32(RUN_BOUNDARY).op(0x0f).end();
    // A region left no block behind. Out of the three ifs and the loop around them.
    f.get(cpu).i32(0).mem(I32_STORE, S_BLOCK);
    f.br(4);
    f.end().end().end();
    f.i32(0).set(cold);
  }

  /** Adds what `push` pushes to a u64 of the state. */
  #count(f: FunctionBody, cpu: number, field: number, push: () => void): void {
    f.get(cpu).get(cpu).mem(I64_LOAD, field);
    push();
    f.op(0x7c).mem(I64_STORE, field);
  }

  #enterBlock(f: FunctionBody, at: { cpu: number; rec: number; blk: number }): void {
    const { cpu, rec, blk } = at;
    f.get(cpu)
      .mem(I32_LOAD, S_BUDGET)
      .get(blk)
      .mem(I32_LOAD, B_COUNT)
      .op(0x6b)
      .tee(rec)
      .i32(0)
      .op(0x48);
    f.get(cpu).mem(I32_LOAD, S_ATTENTION).op(0x72).if().i32(RUN_BOUNDARY).op(0x0f).end();
    f.get(cpu).get(rec).mem(I32_STORE, S_BUDGET);
    f.get(cpu).get(blk).mem(I32_STORE, S_BLOCK);
    f.get(cpu).get(cpu).mem(I32_LOAD, S_RECENT_AT).i32(4).op(0x6a);
    f.i32(RECENT_BYTES - 1)
      .op(0x71)
      .tee(rec)
      .mem(I32_STORE, S_RECENT_AT);
    f.get(cpu).get(rec).op(0x6a).get(blk).mem(I32_STORE, S_RECENT);
    f.get(blk).i32(B_HEADER).op(0x6a).set(rec);
  }

  #inlineHandler(
    f: FunctionBody,
    source: HandlerSource,
    at: { cpu: number; rec: number; blk: number; pool: LocalPool; rest: number },
  ): void {
    const { cpu, rec, blk, pool, rest } = at;
    const next = rest;
    const enter = rest + 1;
    const dispatch = rest + 2;
    let ended = false;
    const link = (slot: number, depth: number) => {
      f.get(cpu).i32(0).mem(I32_STORE, S_REC);
      f.get(rec).mem(I32_LOAD, slot).tee(blk).i32(LINK_NEAR).op(0x71).if();
      f.get(blk)
        .i32(LINK_NEAR)
        .op(0x73)
        .set(blk)
        .br(depth + 1)
        .end();
      f.get(blk).if();
      this.#pushIsThere(f, cpu, blk);
      f.brIf(depth + 1).end();
      f.get(cpu).get(rec).i32(slot).call(this.#helper('link_block')).set(blk).br(depth);
    };
    const terminate = (kind: string, operand: number | undefined) => {
      ended = true;
      if (kind === 'jump') {
        this.#storeTarget(f, cpu, rec, source.opSize);
        link(REC_LINK, enter);
      } else if (kind === 'branch') {
        f.get(operand ?? 0).if();
        this.#storeTarget(f, cpu, rec, source.opSize);
        link(REC_LINK, enter + 1);
        f.end();
        this.#storeNext(f, cpu, rec);
        link(REC_LINK2, enter);
      } else if (kind === 'goto') {
        this.#storeGoto(f, cpu, operand ?? 0);
        this.#jumpCache(f, { cpu, rec, blk, rip: operand ?? 0, enter, pool });
        f.br(dispatch);
      } else {
        if (kind === 'end_next') this.#storeNext(f, cpu, rec);
        f.br(dispatch);
      }
    };
    new ColdEmitter({ f, cpu, rec, pool, helper: this.#helper, terminate }).emit(source.block);
    if (!ended) f.get(rec).i32(REC_SIZE).op(0x6a).set(rec).br(next);
  }

  /** Pushes 1 when the linked block, on another page, is at RIP still. */
  #pushIsThere(f: FunctionBody, cpu: number, blk: number): void {
    f.get(blk).mem(I32_LOAD, B_LIN_GEN).get(cpu).mem(I32_LOAD, S_JUMP_GEN).op(0x46);
    f.get(blk).mem(I64_LOAD, B_LIN).get(cpu).mem(I64_LOAD, S_RIP).op(0x51).op(0x71);
  }

  /** An indirect jump in 64-bit code looks in the jump cache itself. */
  #jumpCache(
    f: FunctionBody,
    at: { cpu: number; rec: number; blk: number; rip: number; enter: number; pool: LocalPool },
  ): void {
    const { cpu, rec, blk, rip, enter } = at;
    // REC keeps its value until the block is found: zero it as `link` does.
    f.get(cpu).i32(0).mem(I32_STORE, S_REC);
    f.get(cpu).mem(I32_LOAD, S_KEY).i32(KEY_CODE64).op(0x71).if();
    f.get(cpu).mem(I32_LOAD, S_AREA);
    f.get(rip)
      .op(0xa7)
      .get(rip)
      .i64(12)
      .op(0x88)
      .op(0xa7)
      .op(0x73)
      .i32(JUMP_ENTRIES - 1)
      .op(0x71)
      .i32(4)
      .op(0x74);
    f.op(0x6a).set(rec);
    f.get(rec).mem(I64_LOAD, A_JUMP_CACHE).get(rip).op(0x51);
    f.get(rec).mem(I32_LOAD, A_JUMP_CACHE + 8);
    f.get(cpu)
      .mem(I32_LOAD, S_JUMP_GEN)
      .get(cpu)
      .mem(I32_LOAD, S_KEY)
      .op(0x72)
      .op(0x46)
      .op(0x71)
      .if();
    f.get(rec)
      .mem(I32_LOAD, A_JUMP_CACHE + 12)
      .set(blk)
      .br(enter + 2);
    f.end().end();
  }

  #callThrough(f: FunctionBody, at: { cpu: number; rec: number; id: number }): void {
    const { cpu, rec, id } = at;
    const { inline, called } = this.#layout;
    const first = inline.length + 1;
    f.get(cpu).get(rec).get(id).i32(first).op(0x6b);
    f.code.byte(0x11).u(this.#module.type(HANDLER)).u(OWN_TABLE);
    f.get(id)
      .i32(first + called.length)
      .op(0x4f)
      .brIf(2);
    f.get(rec).i32(REC_SIZE).op(0x6a).set(rec).br(0);
  }
}
