import { S_ATTENTION, S_CPL, S_EFLAGS, S_IRQ_PENDING, S_STI_NEXT } from '#ir/state.ts';
import type { FunctionBody } from './wasm.ts';

// CLI and STI where nothing waits, as core/system.ts has them.

const I32_LOAD = 0x28;
const I32_STORE = 0x36;
const I64_STORE = 0x37;
const EFLAGS_IF = 1 << 9;

interface HotInterrupts {
  readonly f: FunctionBody;
  readonly cpu: number;
  /** Leaves the instruction to the interpreter. */
  readonly giveUp: () => void;
  /** Pushes the RIP behind the instruction. */
  readonly pushNext: () => void;
}

/** Below CPL 0 it depends on more whether they may. */
export function emitCli({ f, cpu, giveUp }: HotInterrupts): void {
  f.get(cpu).mem(I32_LOAD, S_CPL).hint(false).if();
  giveUp();
  f.end();
  f.get(cpu).get(cpu).mem(I32_LOAD, S_EFLAGS).i32(~EFLAGS_IF).op(0x71).mem(I32_STORE, S_EFLAGS);
}

/** What waits comes after the next instruction, and so does the look around: such an STI is the interpreter's. */
export function emitSti({ f, cpu, giveUp, pushNext }: HotInterrupts): void {
  f.get(cpu).mem(I32_LOAD, S_CPL);
  f.get(cpu).mem(I32_LOAD, S_ATTENTION).op(0x72);
  f.get(cpu).mem(I32_LOAD, S_IRQ_PENDING).op(0x72);
  pushNext();
  f.op(0xa7).i32(0xffff).op(0x71).op(0x45).op(0x72);
  f.hint(false).if();
  giveUp();
  f.end();
  f.get(cpu).mem(I32_LOAD, S_EFLAGS).i32(EFLAGS_IF).op(0x71).op(0x45).if();
  f.get(cpu).get(cpu).mem(I32_LOAD, S_EFLAGS).i32(EFLAGS_IF).op(0x72).mem(I32_STORE, S_EFLAGS);
  f.get(cpu);
  pushNext();
  f.mem(I64_STORE, S_STI_NEXT);
  f.end();
}
