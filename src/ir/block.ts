import { type Opcode, opcode } from './opcodes.ts';

/** Where a register lives: at a fixed offset of the CPU's state, or (cold tier) at the one that a record's byte names. */
export type Slot =
  | { readonly fixed: number }
  /** The byte at `field` is an offset in the state. */
  | { readonly field: number }
  /** The byte at `field` is the number of an XMM or MMX register; `base` and `stride` place it. */
  | { readonly field: number; readonly base: number; readonly stride: number };

export interface Attributes {
  readonly imm?: number | bigint | undefined;
  readonly bytes?: Uint8Array | undefined;
  readonly slot?: Slot | undefined;
  readonly kind?: FlagKind | undefined;
  /** Bytes, of the operands of a flags op. */
  readonly size?: number | undefined;
  readonly cc?: number | undefined;
  readonly helper?: string | undefined;
}

const NO_ATTRIBUTES = uniform({});

/** All have the same properties, so that reading one is the same machine code for each. */
function uniform({ imm, bytes, slot, kind, size, cc, helper }: Attributes): Attributes {
  return { imm, bytes, slot, kind, size, cc, helper };
}

export type FlagKind = 'add' | 'adc' | 'sub' | 'sbb' | 'logic' | 'inc' | 'dec';

/** One value or effect. Identity is the SSA name. */
export interface Inst {
  readonly op: Opcode;
  readonly args: readonly Inst[];
  readonly attr: Attributes;
  /** Position in the block. */
  readonly index: number;
}

/** A straight line of instructions, the terminator (if any) last. */
export class Block {
  readonly insts: Inst[] = [];
  /** Those of `askedOnce`, by the number of the question. */
  readonly answers: unknown[] = [];

  /** Appends; checks types, so that a wrong lift fails where it is written. */
  add(name: string, args: readonly Inst[] = [], attr: Attributes = NO_ATTRIBUTES): Inst {
    const op = opcode(name);
    if (op.family !== 'call') checkTypes(op, args);
    const inst: Inst = {
      op,
      args,
      attr: attr === NO_ATTRIBUTES ? attr : uniform(attr),
      index: this.insts.length,
    };
    this.insts.push(inst);
    return inst;
  }

  get terminator(): Inst | undefined {
    const last = this.insts.at(-1);
    return last?.op.terminator === true ? last : undefined;
  }
}

function checkTypes(op: Opcode, args: readonly Inst[]): void {
  if (args.length !== op.args.length)
    throw new Error(`ir: ${op.name} takes ${op.args.length} arguments`);
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]?.op;
    if (arg?.result !== op.args[i])
      throw new Error(
        `ir: argument ${i} of ${op.name} is ${arg?.result} (${arg?.name}), not ${op.args[i]}`,
      );
  }
}

let questions = 0;

/** A question about finished blocks that each is asked once: the same instructions stand in many regions. */
export function askedOnce<T extends {}>(ask: (block: Block) => T): (block: Block) => T {
  const number = questions++;
  return (block) => {
    const known = block.answers[number] as T | undefined;
    if (known !== undefined) return known;
    const answer = ask(block);
    block.answers[number] = answer;
    return answer;
  };
}
