import type { Block, Inst, Slot } from '#ir/block.ts';
import type { ValueType } from '#ir/opcodes.ts';
import {
  REC_DISP,
  REC_NEXT,
  REC_START,
  S_FLAGS_AUX,
  S_FLAGS_RES,
  S_REC,
  S_RIP,
  S_SEGS,
  S_TLB_READ,
  S_TLB_WRITE,
  SEG_CS,
  SEG_LIMIT,
  SEG_SIZE,
  TLB_ENTRIES,
} from '#ir/state.ts';
import { BlockEmitter } from './block-emitter.ts';
import { ColdFpu, hasUsualCase } from './cold-fpu.ts';
import { type FlagOperation, pushAux, pushCondition, pushRes, type RawFlags } from './flags.ts';
import type { LocalPool } from './local-pool.ts';
import type { FunctionBody } from './wasm.ts';

const I32_LOAD = 0x28;
const I64_LOAD = 0x29;
const V128_LOAD = 0xfd00;
const I32_STORE = 0x36;
const V128_STORE = 0xfd0b;
/** Load and store instructions by access size in bytes: i32 of 1, 2 and 4 zero-extended, i64, v128. */
const LOADS: Readonly<Record<string, number>> = {
  8: 0x2d,
  16: 0x2f,
  32: 0x28,
  64: 0x29,
  v: V128_LOAD,
};
const STORES: Readonly<Record<string, number>> = {
  8: 0x3a,
  16: 0x3b,
  32: 0x36,
  64: 0x37,
  v: V128_STORE,
};
const CC_CARRY = 2;
const VECTOR_GP = 13;
const WIDTHS: Readonly<Record<string, number>> = { 8: 1, 16: 2, 32: 4, 64: 8, v: 16 };

/** What surrounds the block that is emitted. */
export interface EmitContext {
  readonly f: FunctionBody;
  /** Locals that hold the CPU's and the record's address. */
  readonly cpu: number;
  readonly rec: number;
  readonly pool: LocalPool;
  /** Function index of a helper of core/. */
  readonly helper: (name: string) => number;
  /** Emits the terminator: what it needs is in `cond`, in a local, or nothing. RIP is not yet written. */
  readonly terminate: (kind: string, operand: number | undefined) => void;
}

/** Emits one block of the cold tier: registers are named by a record. */
export class ColdEmitter extends BlockEmitter {
  readonly #cx: EmitContext;
  readonly #slots = new Map<string, number>();
  /** Host address left by a read-modify-write load, by its address value. */
  readonly #written = new Map<Inst, number>();

  constructor(cx: EmitContext) {
    super(cx.f, cx.pool);
    this.#cx = cx;
  }

  override emit(block: Block): void {
    super.emit(block);
    this.pool.releaseAll();
  }

  /** Addresses of registers named by a record are computed once where they are used more than once. */
  protected override prepare(insts: readonly Inst[]): void {
    const counts = new Map<string, { slot: Slot; count: number }>();
    for (const inst of insts) {
      const { slot } = inst.attr;
      if (slot === undefined || 'fixed' in slot || this.isDropped(inst)) continue;
      const key = JSON.stringify(slot);
      const known = counts.get(key) ?? { slot, count: 0 };
      known.count++;
      counts.set(key, known);
    }
    for (const [key, { slot, count }] of counts) {
      if (count < 2) continue;
      const local = this.pool.take('i32');
      this.#pushSlotAddress(slot);
      this.f.set(local);
      this.#slots.set(key, local);
    }
  }

  #pushSlotAddress(slot: Slot): void {
    const { cpu, rec } = this.#cx;
    if ('fixed' in slot) {
      this.f.get(cpu);
      return;
    }
    const known = this.#slots.get(JSON.stringify(slot));
    if (known !== undefined) {
      this.f.get(known);
      return;
    }
    this.f.get(cpu).get(rec).mem(0x2d, slot.field);
    if ('stride' in slot) this.f.i32(Math.log2(slot.stride)).op(0x74);
    this.f.op(0x6a);
  }

  #slotOffset(slot: Slot): number {
    if ('fixed' in slot) return slot.fixed;
    return 'base' in slot ? slot.base : 0;
  }

  protected override special(inst: Inst): void {
    const { op } = inst;
    switch (op.family) {
      case 'get':
        this.#getRegister(inst, op.width);
        break;
      case 'set':
        this.#setRegister(inst, op.width);
        break;
      case 'load':
      case 'loadw':
        this.#load(inst);
        break;
      case 'store':
        this.#store(inst);
        break;
      case 'call':
        this.#call(inst);
        break;
      default:
        if (op.terminator === true) this.#terminator(inst);
        else if (op.name === 'rec.self') this.f.get(this.#cx.rec);
        else if (op.name.startsWith('rec.')) this.#recordField(op.name, Number(inst.attr.imm));
        else this.#flagsAndRip(inst, op.name);
    }
  }

  #flagsAndRip(inst: Inst, name: string): void {
    const { cpu, rec } = this.#cx;
    switch (name) {
      case 'flags32':
      case 'flags64':
        this.#flags(inst);
        break;
      case 'cond':
        pushCondition(this.f, this.#rawFlags, inst.attr.cc ?? 0);
        break;
      case 'get_flags_res':
        this.f.get(cpu).mem(I64_LOAD, S_FLAGS_RES);
        break;
      case 'get_flags_aux':
        this.f.get(cpu).mem(I64_LOAD, S_FLAGS_AUX);
        break;
      case 'set_flags_raw':
        this.#setFlagsRaw(inst);
        break;
      case 'next_rip':
      case 'this_rip':
        this.f.get(cpu).mem(I64_LOAD, S_RIP);
        this.f
          .get(rec)
          .mem(0x2f, name === 'next_rip' ? REC_NEXT : REC_START)
          .op(0xad)
          .op(0x7c);
        break;
      case 'raise_if':
        this.push(inst.args[0] as Inst);
        this.f.if();
        this.#saveRecord();
        this.f.get(cpu).i32(Number(inst.attr.imm)).call(this.#cx.helper('raise')).op(0x00).end();
        break;
      case 'check_goto':
        this.push(inst.args[0] as Inst);
        this.#raiseUnlessReachable(inst.attr.size ?? 8);
        break;
      case 'check_jump':
        this.push(inst.args[0] as Inst);
        this.f.if();
        pushTarget(this.f, cpu, rec, inst.attr.size ?? 8);
        this.#raiseUnlessReachable(inst.attr.size ?? 8);
        this.f.end();
        break;
      default:
        throw new Error(`codegen: no rule for ${name}`);
    }
  }

  /** #GP(0) unless a near branch of `size` bytes may go to the RIP on the stack. */
  #raiseUnlessReachable(size: number): void {
    const { f } = this;
    const { cpu, helper } = this.#cx;
    if (size === 8) pushIsUncanonical(f);
    else
      f.get(cpu)
        .mem(0x35, S_SEGS + SEG_CS * SEG_SIZE + SEG_LIMIT)
        .op(0x56);
    f.hint(false).if();
    this.#saveRecord();
    f.get(cpu).i32(VECTOR_GP).i32(0).call(helper('raise_error')).op(0x00).end();
  }

  #recordField(name: string, field: number): void {
    const codes: Record<string, number> = {
      'rec.i32': I32_LOAD,
      'rec.i64': I64_LOAD,
      'rec.u8': 0x2d,
      'rec.u16': 0x2f,
    };
    this.f.get(this.#cx.rec).mem(codes[name] ?? I32_LOAD, field);
  }

  #getRegister(inst: Inst, width: string): void {
    const slot = inst.attr.slot as Slot;
    this.#pushSlotAddress(slot);
    this.f.mem(LOADS[width] ?? I32_LOAD, this.#slotOffset(slot));
  }

  #setRegister(inst: Inst, width: string): void {
    const slot = inst.attr.slot as Slot;
    this.#pushSlotAddress(slot);
    this.pushArgs(inst);
    this.f.mem(STORES[width] ?? I32_STORE, this.#slotOffset(slot));
  }

  #setFlagsRaw(inst: Inst): void {
    const [res, aux] = inst.args as [Inst, Inst];
    const { cpu } = this.#cx;
    // Both are computed before either is stored: they may be made of the old flags.
    const kept = this.inLocal(aux);
    this.f.get(cpu);
    this.push(res);
    this.f.mem(0x37, S_FLAGS_RES).get(cpu).get(kept).mem(0x37, S_FLAGS_AUX);
  }

  get #rawFlags(): RawFlags {
    const { cpu } = this.#cx;
    return {
      res: () => this.f.get(cpu).mem(I64_LOAD, S_FLAGS_RES),
      aux: () => this.f.get(cpu).mem(I64_LOAD, S_FLAGS_AUX),
    };
  }

  #flags(inst: Inst): void {
    const [a, b, result] = inst.args as [Inst, Inst, Inst];
    const kind = inst.attr.kind ?? 'logic';
    const { f } = this;
    const r = this.inLocal(result);
    const needsOperands = kind !== 'logic' && kind !== 'inc' && kind !== 'dec';
    const left = needsOperands ? this.inLocal(a) : r;
    const right = needsOperands ? this.inLocal(b) : r;
    const operation: FlagOperation = {
      kind,
      size: inst.attr.size ?? 4,
      a: () => f.get(left),
      b: () => f.get(right),
      result: () => f.get(r),
      carry: () => pushCondition(f, this.#rawFlags, CC_CARRY),
    };
    const { cpu } = this.#cx;
    f.get(cpu);
    pushRes(f, operation);
    // INC and DEC read the old CF, which AUX alone holds.
    f.mem(STORES['64'] ?? 0, S_FLAGS_RES).get(cpu);
    pushAux(f, operation, this.pool.take('i32'));
    f.mem(STORES['64'] ?? 0, S_FLAGS_AUX);
  }

  #saveRecord(): void {
    this.f.get(this.#cx.cpu).get(this.#cx.rec).mem(I32_STORE, S_REC);
  }

  #call(inst: Inst): void {
    const name = inst.attr.helper ?? '';
    if (hasUsualCase(name, inst.args)) {
      this.#callUnlessUsual(inst, name);
      return;
    }
    this.#saveRecord();
    this.f.get(this.#cx.cpu);
    this.pushArgs(inst);
    this.f.call(this.#cx.helper(name));
  }

  /** The usual case of an x87 instruction in place; the helper does the rest. */
  #callUnlessUsual(inst: Inst, name: string): void {
    const { f, pool } = this;
    const { cpu, rec } = this.#cx;
    const locals = inst.args.map((arg) =>
      arg.op.family === 'const' ? undefined : this.inLocal(arg),
    );
    f.block().block();
    const pushHost = (address: number, width: number) => {
      const entry = pool.take('i32');
      this.#probe(address, entry, S_TLB_WRITE, width);
      f.op(0x45).hint(false).brIf(0);
      this.#pushHost(address, entry);
    };
    new ColdFpu({ f, pool, cpu, rec, pushHost }).emit(name, inst.args, locals);
    f.br(1).end();
    this.#saveRecord();
    f.get(cpu);
    inst.args.forEach((arg, i) => {
      const local = locals[i];
      if (local === undefined) this.push(arg);
      else f.get(local);
    });
    f.call(this.#cx.helper(name)).end();
  }

  /** Leaves the TLB entry of the address in `entry` and pushes 1 when it holds the whole access. */
  #probe(address: number, entry: number, table: number, width: number): void {
    this.f.get(this.#cx.cpu).mem(I32_LOAD, table);
    this.f
      .get(address)
      .i64(8)
      .op(0x88)
      .op(0xa7)
      .i32((TLB_ENTRIES - 1) << 4)
      .op(0x71)
      .op(0x6a)
      .tee(entry);
    this.f
      .mem(I64_LOAD, 0)
      .get(address)
      .op(0x85)
      .i64(4096 - width)
      .op(0x58);
  }

  #pushHost(address: number, entry: number): void {
    this.f.get(address).op(0xa7).get(entry).mem(I32_LOAD, 8).op(0x6a);
  }

  #load(inst: Inst): void {
    const forWrite = inst.op.family === 'loadw';
    const key = inst.op.width;
    const { pool } = this;
    const { cpu, helper } = this.#cx;
    const type = inst.op.result as ValueType;
    const address = this.inLocal(inst.args[0] as Inst);
    const entry = pool.take('i32');
    this.#probe(address, entry, forWrite ? S_TLB_WRITE : S_TLB_READ, WIDTHS[key] ?? 4);
    this.f.if(type);
    this.#pushHost(address, entry);
    if (forWrite) {
      // The store to come needs no probe of its own.
      this.#written.set(inst.args[0] as Inst, entry);
      this.f.tee(entry);
    }
    this.f.mem(LOADS[key] ?? I32_LOAD, 0);
    this.f.else();
    this.#saveRecord();
    this.f
      .get(cpu)
      .get(address)
      .call(helper(`${forWrite ? 'rmw' : 'read'}${key === 'v' ? '128' : key}`));
    if (forWrite) this.f.i32(0).set(entry);
    this.f.end();
  }

  #store(inst: Inst): void {
    const key = inst.op.width;
    const { pool } = this;
    const { cpu, helper } = this.#cx;
    const address = this.inLocal(inst.args[0] as Inst);
    const value = this.inLocal(inst.args[1] as Inst);
    const known = this.#written.get(inst.args[0] as Inst);
    const entry = known ?? pool.take('i32');
    if (known === undefined) this.#probe(address, entry, S_TLB_WRITE, WIDTHS[key] ?? 4);
    else this.f.get(entry);
    this.f.if();
    if (known === undefined) this.#pushHost(address, entry);
    else this.f.get(entry);
    this.f.get(value).mem(STORES[key] ?? I32_STORE, 0);
    this.f.else();
    this.#saveRecord();
    this.f
      .get(cpu)
      .get(address)
      .get(value)
      .call(helper(`write${key === 'v' ? '128' : key}`))
      .end();
  }

  #terminator(inst: Inst): void {
    const operand = inst.args[0];
    this.#cx.terminate(inst.op.name, operand === undefined ? undefined : this.inLocal(operand));
  }
}

/** Whether the address on the stack is not canonical: 1 or 0. */
export function pushIsUncanonical(f: FunctionBody): void {
  f.i64(2 ** 47)
    .op(0x7c)
    .i64(48)
    .op(0x88)
    .i64(0)
    .op(0x52);
}

/** Pushes RIP of the direct target of the record, cut to the operand size. */
export function pushTarget(f: FunctionBody, cpu: number, rec: number, opSize: number): void {
  f.get(cpu).mem(I64_LOAD, S_RIP).get(rec).mem(0x34, REC_DISP).op(0x7c);
  cutRip(f, opSize);
}

/** Cuts a RIP on the stack to the operand size of a near branch. */
function cutRip(f: FunctionBody, opSize: number): void {
  if (opSize === 2) f.i64(0xffff).op(0x83);
  if (opSize === 4) f.i64(0xffffffff).op(0x83);
}
