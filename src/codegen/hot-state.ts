import { askedOnce, type Inst } from '#ir/block.ts';
import { slotName } from '#ir/slot-name.ts';
import { S_RAX, S_RDX, S_REGS, S_XMM, S_ZERO } from '#ir/state.ts';
import { isDivision } from './hot-helpers.ts';
import type { Region } from './region.ts';
import type { FunctionBody } from './wasm.ts';

const GENERAL_BYTES = 128;
const XMM_BYTES = 256;
const I64_LOAD = 0x29;
const I64_STORE = 0x37;
const V128_LOAD = 0xfd00;
const V128_STORE = 0xfd0b;
const WRAP = 0xa7;
const EXTEND_U = 0xad;
const LOADS = { i32: 0x28, i64: I64_LOAD, v128: V128_LOAD } as const;

/** A guest register that a region keeps in a local. */
interface Cached {
  readonly local: number;
  /** Offset in the CPU's state. */
  readonly offset: number;
  /** i32: of 32-bit code, which leaves the upper halves 0 (`updateKey` of core/key.ts). */
  readonly type: 'i32' | 'i64' | 'v128';
  written: boolean;
}

/** What of a register is written: `width` bits from a byte on; `fits` when the value has no more. */
interface Part {
  readonly byte: number;
  readonly width: string;
  readonly fits: boolean;
}

/** The low part of a register that was written alone, in a local of its own. */
interface LowPart {
  readonly local: number;
  readonly bits: number;
}

/** Where a fixed slot of the state is in a region: a part of a cached register, or memory. */
type Home = { readonly cached: Cached; readonly byte: number } | 'zero' | 'memory';

function wholeRegister(offset: number): number | undefined {
  if (offset >= S_REGS && offset < S_REGS + GENERAL_BYTES) return offset & ~7;
  if (offset >= S_XMM && offset < S_XMM + XMM_BYTES) return offset & ~15;
  return undefined;
}

/** A register that an instruction reads, or writes. */
interface Use {
  readonly offset: number;
  readonly written: boolean;
}

/** Each once, in the order of the first uses. */
const usedBy = askedOnce(({ insts }): readonly Use[] => {
  const uses = insts.flatMap(usesOf);
  const isFirst = ({ offset }: Use, i: number) => uses.findIndex((u) => u.offset === offset) === i;
  const isWritten = (offset: number) => uses.some((u) => u.offset === offset && u.written);
  return uses.filter(isFirst).map(({ offset }) => ({ offset, written: isWritten(offset) }));
});

function usesOf({ op, attr }: Inst): Use[] {
  const { slot, helper } = attr;
  if (op.family === 'call' && isDivision(helper ?? ''))
    return [S_RAX, S_RDX].map((offset) => ({ offset, written: true }));
  const offset = slot !== undefined && 'fixed' in slot ? wholeRegister(slot.fixed) : undefined;
  return offset === undefined ? [] : [{ offset, written: op.family === 'set' }];
}

/** The guest registers of a region: in locals inside, in the CPU's state outside and while helpers look. */
export class HotState {
  readonly #f: FunctionBody;
  readonly #cpu: number;
  readonly #code64: boolean;
  readonly #cached = new Map<number, Cached>();
  /** By register: what is written alone is often read alone, or widened, next. */
  #low: ReadonlyMap<number, LowPart> = new Map();
  readonly #lowLocals = new Map<number, number>();

  constructor(f: FunctionBody, cpu: number, region: Region) {
    this.#f = f;
    this.#cpu = cpu;
    this.#code64 = region.code64;
    for (const node of region.nodes)
      for (const { ir } of node.insns)
        for (const { offset, written } of usedBy(ir)) this.#cache(offset, written);
  }

  #cache(offset: number, written: boolean): void {
    let cached = this.#cached.get(offset);
    if (cached === undefined) {
      const type = offset >= S_XMM ? 'v128' : this.#code64 ? 'i64' : 'i32';
      const local = this.#f.local(type, slotName(offset));
      cached = { local, offset, type, written: false };
      this.#cached.set(offset, cached);
    }
    cached.written ||= written;
  }

  /** Control may come from elsewhere. */
  forget(): void {
    this.#low = new Map();
  }

  /** What is known here; the answer makes it known again, on another way from here. */
  remember(): () => void {
    const low = this.#low;
    return () => {
      this.#low = low;
    };
  }

  load(): void {
    const f = this.#f;
    this.forget();
    for (const { local, offset, type } of this.#cached.values())
      f.get(this.#cpu).mem(LOADS[type], offset).set(local);
  }

  store(): void {
    const f = this.#f;
    for (const { local, offset, type, written } of this.#cached.values()) {
      if (!written) continue;
      f.get(this.#cpu).get(local);
      if (type === 'i32') f.op(EXTEND_U);
      f.mem(type === 'v128' ? V128_STORE : I64_STORE, offset);
    }
  }

  #home(offset: number): Home {
    if (offset === S_ZERO) return 'zero';
    const whole = wholeRegister(offset);
    const cached = whole === undefined ? undefined : this.#cached.get(whole);
    return cached === undefined ? 'memory' : { cached, byte: offset - cached.offset };
  }

  /** Pushes `width` (8 16 32 64 v) bits at a slot of the state. */
  get(offset: number, width: string): void {
    const f = this.#f;
    const home = this.#home(offset);
    if (home === 'zero') {
      if (width === '64') f.i64(0);
      else f.i32(0);
    } else if (home === 'memory') {
      const codes: Record<string, number> = { 8: 0x2d, 16: 0x2f, 32: 0x28, 64: I64_LOAD };
      f.get(this.#cpu).mem(codes[width] ?? V128_LOAD, offset);
    } else if (home.cached.type === 'v128') this.#getLane(home.cached, home.byte, width);
    else this.#getPart(home.cached, home.byte, width);
  }

  #getLane({ local }: Cached, byte: number, width: string): void {
    const f = this.#f.get(local);
    if (width === '64') f.op(0xfd1d).code.byte(byte >> 3);
    else if (width === '32') f.op(0xfd1b).code.byte(byte >> 2);
    else if (width !== 'v') throw new Error(`codegen: get${width} of a vector`);
  }

  #getPart({ local, type, offset }: Cached, byte: number, width: string): void {
    const low = byte === 0 ? this.#low.get(offset) : undefined;
    if (low !== undefined && Number(width) <= low.bits) {
      this.#f.get(low.local);
      if (Number(width) < low.bits) this.#f.i32(0xff).op(0x71);
      return;
    }
    const f = this.#f.get(local);
    if (type === 'i32') {
      if (byte !== 0) f.i32(byte * 8).op(0x76);
      if (width === '64') f.op(EXTEND_U);
    } else {
      if (width === '64') return;
      if (byte !== 0) f.i64(byte * 8).op(0x88);
      f.op(WRAP);
    }
    if (width === '8') f.i32(0xff).op(0x71);
    if (width === '16') f.i32(0xffff).op(0x71);
  }

  /** Stores what `push` pushes to a slot of the state; `fits`: it has no more bits than `width`. */
  set(offset: number, width: string, push: () => void, fits = false): void {
    const f = this.#f;
    const home = this.#home(offset);
    if (home === 'zero') throw new Error('codegen: a store to the zero register');
    if (home === 'memory') {
      const codes: Record<string, number> = { 8: 0x3a, 16: 0x3b, 32: 0x36, 64: I64_STORE };
      f.get(this.#cpu);
      push();
      f.mem(codes[width] ?? V128_STORE, offset);
      return;
    }
    const { cached, byte } = home;
    if (cached.type === 'v128') {
      if (width !== 'v') f.get(cached.local);
      push();
      if (width === '64') f.op(0xfd1e).code.byte(byte >> 3);
      else if (width === '32') f.op(0xfd1c).code.byte(byte >> 2);
      else if (width !== 'v') throw new Error(`codegen: set${width} of a vector`);
    } else {
      this.#setPart(cached, { byte, width, fits }, push);
    }
    f.set(cached.local);
  }

  /** Pushes a register of which a part is what `push` pushes. */
  #setPart(cached: Cached, { byte, width, fits }: Part, push: () => void): void {
    const bits = Number(width);
    const pushCut = () => {
      push();
      if (bits < 32 && !fits) this.#f.i32((1 << bits) - 1).op(0x71);
    };
    const alone = byte === 0 && bits < 32;
    const low = alone ? this.#setLow(cached, bits, pushCut) : undefined;
    const pushPart = low === undefined ? pushCut : () => this.#f.get(low);
    if (cached.type === 'i32') this.#insertNarrow(cached, byte, width, pushPart);
    else this.#insert(cached, byte, width, pushPart);
    if (low === undefined) this.#noteLow(cached.offset, undefined);
  }

  /** Puts what is pushed into the local of the register's low part. */
  #setLow({ offset }: Cached, bits: number, push: () => void): number {
    const local = this.#lowLocals.get(offset) ?? this.#f.local('i32');
    this.#lowLocals.set(offset, local);
    push();
    this.#f.set(local);
    this.#noteLow(offset, { local, bits });
    return local;
  }

  #noteLow(offset: number, part: LowPart | undefined): void {
    if (this.#low.get(offset) === part) return;
    const low = new Map(this.#low);
    if (part === undefined) low.delete(offset);
    else low.set(offset, part);
    this.#low = low;
  }

  /** Whether what is written to a slot whole is cut to 32 bits. */
  isNarrow(offset: number): boolean {
    const home = this.#home(offset);
    return typeof home === 'object' && home.cached.type === 'i32';
  }

  /** As `#insert`, into a register of 32 bits. */
  #insertNarrow({ local }: Cached, byte: number, width: string, push: () => void): void {
    const f = this.#f;
    const bits = Number(width);
    if (bits >= 32) {
      push();
      if (bits === 64) f.op(WRAP);
      return;
    }
    const part = (1 << bits) - 1;
    f.get(local)
      .i32(~(part << (byte * 8)))
      .op(0x71);
    push();
    if (byte !== 0) f.i32(byte * 8).op(0x74);
    f.op(0x72);
  }

  /** Pushes the register with the part replaced. */
  #insert({ local }: Cached, byte: number, width: string, push: () => void): void {
    const f = this.#f;
    if (width === '64') {
      push();
      return;
    }
    const bits = Number(width);
    const mask = ((1n << BigInt(bits)) - 1n) << BigInt(byte * 8);
    f.get(local).i64(~mask).op(0x83);
    push();
    f.op(0xad);
    if (byte !== 0) f.i64(byte * 8).op(0x86);
    f.op(0x84);
  }
}
