import { Block, type FlagKind, type Inst, type Slot } from '#ir/block.ts';
import type { Helper } from '#ir/helpers.ts';
import { S_EA, S_RSP, SEG_SS } from '#ir/state.ts';
import type { InsnOptions, OperandSpec } from '#isa/x86/insn.ts';
import { HELPERS } from './helpers.ts';

/** How one operand is reached, decided by whoever translates: fixed registers (hot tier) or record fields (cold tier). */
export type Binding =
  | { readonly kind: 'reg'; readonly size: number; readonly slot: Slot }
  /** An XMM or MMX register; `size` is what a memory operand in its place would have. */
  | { readonly kind: 'vec'; readonly size: number; readonly slot: Slot }
  | { readonly kind: 'mem'; readonly size: number }
  /** An immediate or the number of a segment, control or debug register; how to make its value. */
  | {
      readonly kind: 'imm';
      readonly size: number;
      readonly make: (block: Block, type: 'i32' | 'i64') => Inst;
    }
  /** Target of a direct branch. */
  | { readonly kind: 'rel'; readonly size: number };

export interface LiftContext {
  readonly name: string;
  readonly options: InsnOptions;
  readonly specs: readonly OperandSpec[];
  readonly bindings: readonly Binding[];
  /** Effective operand size in bytes: 1 for byte instructions is not said here, see `Lifter.size`. */
  readonly opSize: 2 | 4 | 8;
  readonly addrSize: 2 | 4 | 8;
  readonly codeSize: 2 | 4 | 8;
  readonly stackSize: 2 | 4 | 8;
  /** 0, 0xf2 or 0xf3. */
  readonly rep: number;
  /** In a region: segments need no check and no addition, and direct targets are looked at when it is entered. */
  readonly inRegion?: boolean;
  /** Number (SEG_…) of the segment of implicit memory operands: the override, or DS. */
  readonly segment: (block: Block) => Inst;
  /** The address record before this one has added the bit index of BT and its kin (REC_IMM, ir/state.ts). */
  readonly bitsAdded?: boolean;
  /** Computes the linear address of the memory operand; appended to the block once. */
  readonly address: ((block: Block) => Inst) | undefined;
}

type IntType = 'i32' | 'i64';

/** The surface that lifts are written against: values are `Inst`s; integers of 1, 2 or 4 bytes are i32, of 8 bytes i64. */
export class Lifter {
  readonly block: Block;
  readonly cx: LiftContext;
  #address: Inst | undefined;

  constructor(cx: LiftContext, block = new Block()) {
    this.cx = cx;
    this.block = block;
  }

  /** Size in bytes of operand 0, the usual size of the operation. */
  get size(): number {
    return this.binding(0).size;
  }

  get opSize(): 2 | 4 | 8 {
    return this.cx.opSize;
  }

  /** The row's `arg`. */
  get arg(): number {
    return this.cx.options.arg ?? 0;
  }

  binding(i: number): Binding {
    const found = this.cx.bindings[i];
    if (found === undefined) throw new Error(`lift ${this.cx.name}: no operand ${i}`);
    return found;
  }

  isMem(i: number): boolean {
    return this.cx.bindings[i]?.kind === 'mem';
  }

  // ---- operands

  /** Value of an integer operand, zero-extended to its type. `size` overrides the operand's (immediates are cut). */
  read(i: number, size = this.binding(i).size): Inst {
    const b = this.binding(i);
    switch (b.kind) {
      case 'reg':
        return this.getSlot(b.slot, size);
      case 'mem':
        return this.load(this.address(), size);
      case 'imm':
        return size === 8 ? b.make(this.block, 'i64') : this.mask(b.make(this.block, 'i32'), size);
      default:
        throw new Error(`lift ${this.cx.name}: operand ${i} is ${b.kind}`);
    }
  }

  /** As `read`, for an operand that will be written: a memory operand faults as a write does (SDM vol. 3, 4.7). */
  readForWrite(i: number): Inst {
    const b = this.binding(i);
    return b.kind === 'mem' ? this.loadw(this.address(), b.size) : this.read(i);
  }

  /** Writes an integer operand. 32-bit registers clear their upper half; narrower ones leave the rest alone. */
  write(i: number, value: Inst): void {
    const b = this.binding(i);
    if (b.kind === 'reg') this.setSlot(b.slot, b.size, value);
    else if (b.kind === 'mem') this.store(this.address(), b.size, value);
    else throw new Error(`lift ${this.cx.name}: operand ${i} is ${b.kind}`);
  }

  /** An immediate, register number or other constant as it is, of the wanted type (imm: sign- or zero-extended as its spec says). */
  imm(i: number, type: IntType = 'i32'): Inst {
    const b = this.binding(i);
    if (b.kind !== 'imm') throw new Error(`lift ${this.cx.name}: operand ${i} is ${b.kind}`);
    return b.make(this.block, type);
  }

  /** Number of the segment of implicit memory operands (strings, XLAT, MASKMOVDQU): the override, or DS; i32. */
  segment(): Inst {
    return this.cx.segment(this.block);
  }

  /** Linear address of the memory operand (LEA: its offset), i64. */
  address(): Inst {
    if (this.#address === undefined) {
      if (this.cx.address === undefined) throw new Error(`lift ${this.cx.name}: no memory operand`);
      this.#address = this.cx.address(this.block);
    }
    return this.#address;
  }

  /** All 128 bits of an XMM operand (64 of an MMX one, in the low half); from memory `size` bytes, rest zero. */
  readVec(i: number, size = this.binding(i).size): Inst {
    const b = this.binding(i);
    if (b.kind === 'vec') return this.op('getv', [], { slot: b.slot });
    if (size === 16) return this.op('loadv', [this.address()]);
    const zero = this.op('v128.const', [], { bytes: new Uint8Array(16) });
    const value = this.load(this.address(), size);
    if (size === 8) return this.lane('i64x2.replace_lane', 0, zero, value);
    return this.lane('i32x4.replace_lane', 0, zero, value);
  }

  /** Writes all 128 bits of an XMM register, or `size` low bytes of the value to memory. */
  writeVec(i: number, value: Inst, size = this.binding(i).size): void {
    const b = this.binding(i);
    if (b.kind === 'vec') this.op('setv', [value], { slot: b.slot });
    else if (size === 16) this.op('storev', [this.address(), value]);
    else if (size === 8) this.store(this.address(), 8, this.lane('i64x2.extract_lane', 0, value));
    else this.store(this.address(), size, this.lane('i32x4.extract_lane', 0, value));
  }

  /** Low 64 bits of an MMX operand or 8 bytes of memory, as i64. */
  readMmx(i: number): Inst {
    const b = this.binding(i);
    if (b.kind === 'vec') return this.op('get64', [], { slot: b.slot });
    return this.load(this.address(), 8);
  }

  writeMmx(i: number, value: Inst): void {
    const b = this.binding(i);
    if (b.kind === 'vec') this.op('set64', [value], { slot: b.slot });
    else this.store(this.address(), 8, value);
  }

  // ---- fixed registers: `slot` is an offset in the state such as S_RAX, S_RAX + 1 for AH

  reg(offset: number, size: number): Inst {
    return this.getSlot({ fixed: offset }, size);
  }

  setReg(offset: number, size: number, value: Inst): void {
    this.setSlot({ fixed: offset }, size, value);
  }

  getSlot(slot: Slot, size: number): Inst {
    return this.op(`get${size * 8}`, [], { slot });
  }

  setSlot(slot: Slot, size: number, value: Inst): void {
    if (size === 4) this.op('set64', [this.op('i64.extend_i32_u', [value])], { slot });
    else this.op(`set${size * 8}`, [value], { slot });
  }

  // ---- memory by linear address (i64)

  load(address: Inst, size: number): Inst {
    return this.op(`load${size * 8}`, [address]);
  }

  loadw(address: Inst, size: number): Inst {
    return this.op(`loadw${size * 8}`, [address]);
  }

  store(address: Inst, size: number, value: Inst): void {
    this.op(`store${size * 8}`, [address, value]);
  }

  // ---- the stack

  /** Pushes `value` of `size` bytes; RSP changes after the store. */
  push(value: Inst, size: number): void {
    const { stackSize } = this.cx;
    const sp = this.reg(S_RSP, 8);
    const next = this.op('i64.sub', [sp, this.const64(size)]);
    this.store(this.stackAddress(next, size, true), size, value);
    this.setStackPointer(next, stackSize);
  }

  /** The value on top of the stack; `setStackPointer` or `popped` must follow. */
  top(size: number): Inst {
    return this.load(this.stackAddress(this.reg(S_RSP, 8), size, false), size);
  }

  /** Pops: the value, with RSP advanced. No fault may follow it: use `top` and `popped` when one can. */
  pop(size: number): Inst {
    const value = this.top(size);
    this.popped(size);
    return value;
  }

  /** RSP += size. */
  popped(size: number): void {
    this.setStackPointer(
      this.op('i64.add', [this.reg(S_RSP, 8), this.const64(size)]),
      this.cx.stackSize,
    );
  }

  /** Linear address of a stack slot at offset `sp` (i64, any upper bits). */
  stackAddress(sp: Inst, size: number, write: boolean): Inst {
    const { stackSize } = this.cx;
    if (stackSize === 8) return sp;
    const offset = this.op('i64.and', [sp, this.const64(stackSize === 2 ? 0xffff : 0xffffffff)]);
    if (this.cx.inRegion === true) return offset;
    const seg = this.const32(SEG_SS);
    return this.call('seg_address', [seg, offset, this.const32(size), this.const32(write ? 1 : 0)]);
  }

  /** Writes SP, ESP or RSP from an i64. */
  setStackPointer(value: Inst, size: number): void {
    if (size === 8) this.setReg(S_RSP, 8, value);
    else this.setReg(S_RSP, size, this.op('i32.wrap_i64', [value]));
  }

  // ---- arithmetic on integers of `size` bytes, results zero-extended

  bin(name: string, a: Inst, b: Inst, size: number): Inst {
    if (size === 8) return this.op(`i64.${name}`, [a, b]);
    return this.mask(this.op(`i32.${name}`, [a, b]), size);
  }

  add(a: Inst, b: Inst, size = this.size): Inst {
    return this.bin('add', a, b, size);
  }

  sub(a: Inst, b: Inst, size = this.size): Inst {
    return this.bin('sub', a, b, size);
  }

  and(a: Inst, b: Inst, size = this.size): Inst {
    return this.op(size === 8 ? 'i64.and' : 'i32.and', [a, b]);
  }

  or(a: Inst, b: Inst, size = this.size): Inst {
    return this.op(size === 8 ? 'i64.or' : 'i32.or', [a, b]);
  }

  xor(a: Inst, b: Inst, size = this.size): Inst {
    return this.op(size === 8 ? 'i64.xor' : 'i32.xor', [a, b]);
  }

  /** Cuts an i32 to `size` bytes; 4 and 8 are left as they are. */
  mask(value: Inst, size: number): Inst {
    if (size >= 4) return value;
    return this.op('i32.and', [value, this.const32(size === 1 ? 0xff : 0xffff)]);
  }

  /** Sign-extends from `size` bytes within its own type. */
  sext(value: Inst, size: number): Inst {
    if (size === 1) return this.op('i32.extend8_s', [value]);
    if (size === 2) return this.op('i32.extend16_s', [value]);
    return value;
  }

  /** An integer of `from` bytes as one of `to` bytes: zero-extended or cut. */
  resize(value: Inst, from: number, to: number): Inst {
    if (from === to) return value;
    if (from === 8) return this.mask(this.op('i32.wrap_i64', [value]), to);
    if (to === 8) return this.op('i64.extend_i32_u', [value]);
    return to < from ? this.mask(value, to) : value;
  }

  /** An integer of `from` bytes sign-extended to `to` bytes. */
  signExtend(value: Inst, from: number, to: number): Inst {
    const wide = this.sext(value, from);
    if (to === 8) return from === 8 ? value : this.op('i64.extend_i32_s', [wide]);
    return this.mask(wide, to);
  }

  /** The integer as i64, zero-extended. */
  to64(value: Inst): Inst {
    return value.op.result === 'i64' ? value : this.op('i64.extend_i32_u', [value]);
  }

  const32(value: number): Inst {
    return this.op('i32.const', [], { imm: value | 0 });
  }

  const64(value: number | bigint): Inst {
    return this.op('i64.const', [], { imm: BigInt.asIntN(64, BigInt(value)) });
  }

  /** A constant of the type that `size` bytes have. */
  const(value: number, size: number): Inst {
    return size === 8 ? this.const64(value) : this.const32(value);
  }

  /** `c` (i32) ? a : b. */
  select(c: Inst, a: Inst, b: Inst): Inst {
    return this.op(`${a.op.result}.select`, [c, a, b]);
  }

  // ---- flags

  /** Records CF OF AF SF ZF PF as the operation `kind` leaves them; `logic` clears CF OF AF. a, b, result: zero-extended. */
  setFlags(kind: FlagKind, a: Inst, b: Inst, result: Inst, size = this.size): void {
    this.op(size === 8 ? 'flags64' : 'flags32', [a, b, result], { kind, size });
  }

  /** Condition `cc` as in Jcc (0 O, 1 NO, 2 B, 3 AE, 4 E, 5 NE, 6 BE, 7 A, 8 S, 9 NS, 10 P, 11 NP, 12 L, 13 GE, 14 LE, 15 G). */
  cond(cc: number): Inst {
    return this.op('cond', [], { cc });
  }

  // ---- control

  /** Raises `vector` (no error code) when `condition` is not 0. */
  raiseIf(condition: Inst, vector: number): void {
    this.op('raise_if', [condition], { imm: vector });
  }

  /** Calls a helper of core/ (translate/x86/helpers.ts lists them); `cpu` is implied. */
  call(name: string, args: readonly Inst[] = []): Inst {
    const helper: Helper | undefined = HELPERS[name];
    if (helper === undefined) throw new Error(`lift ${this.cx.name}: no helper ${name}`);
    if (args.length !== helper.params.length)
      throw new Error(`lift ${this.cx.name}: arguments of ${name}`);
    args.forEach((arg, i) => {
      if (arg.op.result !== helper.params[i])
        throw new Error(`lift ${this.cx.name}: argument ${i} of ${name} is ${arg.op.result}`);
    });
    return this.op(`call.${helper.result}`, args, { helper: name });
  }

  nextRip(): Inst {
    return this.op('next_rip');
  }

  /** Ends the block: on to the next instruction, after something that translated code depends on has changed. */
  endNext(): void {
    this.op('end_next');
  }

  /** Ends the block: a helper has written RIP. */
  endDispatch(): void {
    this.op('end_dispatch');
  }

  /** Raises #GP(0) unless code may be fetched from `rip`; stands before anything changes. */
  checkGoto(rip: Inst): void {
    const { inRegion } = this.cx;
    if (inRegion === true && this.opSize !== 8) return;
    this.op('check_goto', [this.to64(rip)], { size: this.opSize });
  }

  /** As `checkGoto`, for the direct target where `taken` (i32) is not 0. */
  checkJump(taken: Inst): void {
    if (this.cx.inRegion !== true) this.op('check_jump', [taken], { size: this.opSize });
  }

  /** Ends the block with a jump to `rip`, a value of the operand size that `checkGoto` has seen. */
  goto(rip: Inst): void {
    this.op('goto', [this.to64(rip)]);
  }

  /** Ends the block with a jump to the direct target. */
  jump(): void {
    this.op('jump');
  }

  /** Ends the block with a conditional jump to the direct target. */
  branch(condition: Inst): void {
    this.op('branch', [condition]);
  }

  // ---- raw

  op(name: string, args: readonly Inst[] = [], attr?: Inst['attr']): Inst {
    return this.block.add(name, args, attr);
  }

  lane(name: string, lane: number, ...args: Inst[]): Inst {
    return this.op(name, args, { imm: lane });
  }

  /** The linear address that an address record left. */
  leftAddress(): Inst {
    return this.reg(S_EA, 8);
  }
}

export type Lift = (x: Lifter) => void;
