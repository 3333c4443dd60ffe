import type { MemoryLayout } from '#cpu/layout.ts';
import type { VcpuTrace } from '#cpu/vcpu-host.ts';
import {
  B_KEY,
  B_PADDR,
  B_PADDR2,
  EXC_EXTERNAL,
  EXC_HAS_ERROR,
  EXC_SOFTWARE,
  KEY_CODE32,
  KEY_CODE64,
  S_CPL,
  S_CR2,
  S_RAX,
  S_RIP,
  S_RSP,
  S_SEGS,
  SEG_BASE,
  SEG_CS,
  SEG_SELECTOR,
  SEG_SIZE,
} from '#ir/state.ts';
import {
  EVENT_DELIVERY,
  S_EVENT_FLAGS,
  S_EVENT_RIP,
  TRACE_INSN,
  TRACE_INT,
  TRACE_MMU,
} from '#ir/state-system.ts';
import type { SymbolTable } from '#symbols/symbol-table.ts';
import { disassembleBytes } from '#translate/x86/disassemble.ts';
import { PhysicalMemory } from './physical-memory.ts';
import { type Access, accessLine, deliveryLine, insnLine, mmuLine } from './trace-format.ts';
import type { TraceSink } from './trace-sink.ts';

const MAX_INSN_BYTES = 15;
const KINDS = { insn: TRACE_INSN, int: TRACE_INT, mmu: TRACE_MMU, io: 0 } as const;

/** S_TRACE for a list of kinds; device accesses are seen elsewhere. */
export function traceBits(kinds: readonly (keyof typeof KINDS)[]): number {
  return kinds.reduce((bits, kind) => bits | KINDS[kind], 0);
}

/** Writes what one virtual CPU does, as lines. */
export class Tracer implements VcpuTrace {
  readonly #view: DataView;
  readonly #cpu: number;
  readonly #physical: PhysicalMemory;
  readonly #sink: TraceSink;
  readonly #symbols: SymbolTable | undefined;
  /** The instruction that is about to run: shown before what it causes, and not at all when it does not. */
  #held: string | undefined;

  constructor(
    memory: WebAssembly.Memory,
    layout: MemoryLayout,
    sink: TraceSink,
    symbols: SymbolTable | undefined,
  ) {
    this.#view = new DataView(memory.buffer);
    this.#cpu = layout.cpus[0] ?? 0;
    this.#physical = new PhysicalMemory(memory, layout);
    this.#sink = sink;
    this.#symbols = symbols;
  }

  begin(block: number): void {
    const word = (field: number) => this.#view.getUint32(block + field, true);
    const key = word(B_KEY);
    const codeSize = (key & KEY_CODE64) !== 0 ? 8 : (key & KEY_CODE32) !== 0 ? 4 : 2;
    const rip = this.#long(S_RIP);
    const bytes = this.#code(word(B_PADDR), word(B_PADDR2));
    const nameOf = (address: bigint) => this.#symbols?.nameOf(address);
    const { text, length } = disassembleBytes(bytes, { rip, codeSize, nameOf });
    const { address, linear } = this.#place(rip);
    const shown = bytes.subarray(0, Math.max(1, length));
    this.#held = insnLine({ address, name: nameOf(linear), bytes: shown, text });
  }

  end(ran: boolean): void {
    if (ran) this.#release();
    this.#held = undefined;
  }

  event(event: number, a: bigint, b: bigint): void {
    this.#line(
      event === EVENT_DELIVERY ? this.#delivery(Number(a), Number(b)) : mmuLine(event, a, b),
    );
  }

  access(access: Access): void {
    this.#line(accessLine(access));
  }

  /** A line of another kind. */
  note(text: string): void {
    this.#line(text);
  }

  flush(): void {
    this.#sink.flush();
  }

  #line(text: string): void {
    this.#release();
    this.#sink.write(text);
  }

  #release(): void {
    if (this.#held !== undefined) this.#sink.write(this.#held);
    this.#held = undefined;
  }

  #long(field: number): bigint {
    return this.#view.getBigUint64(this.#cpu + field, true);
  }

  #word(field: number): number {
    return this.#view.getUint32(this.#cpu + field, true);
  }

  /** RIP as people write it: with its segment where that has a base. */
  #place(rip: bigint): { readonly address: string; readonly linear: bigint } {
    const cs = S_SEGS + SEG_CS * SEG_SIZE;
    const base = this.#long(cs + SEG_BASE);
    if (base === 0n) return { address: `0x${rip.toString(16)}`, linear: rip };
    const selector = this.#word(cs + SEG_SELECTOR)
      .toString(16)
      .padStart(4, '0');
    const address = `${selector}:${rip.toString(16).padStart(4, '0')}`;
    return { address, linear: BigInt.asUintN(32, base + rip) };
  }

  /** Up to 15 bytes of code; `paddr2` is the page that they go on in, or 0. */
  #code(paddr: number, paddr2: number): Uint8Array {
    const first = this.#physical.inPage(paddr, MAX_INSN_BYTES);
    const rest = MAX_INSN_BYTES - first.length;
    if (paddr2 === 0 || rest === 0) return first;
    return Uint8Array.from([...first, ...this.#physical.inPage(paddr2, rest)]);
  }

  #delivery(vector: number, error: number): string {
    const flags = this.#word(S_EVENT_FLAGS);
    const { address, linear } = this.#place(this.#long(S_EVENT_RIP));
    return deliveryLine({
      vector,
      kind:
        (flags & EXC_EXTERNAL) !== 0
          ? 'external'
          : (flags & EXC_SOFTWARE) !== 0
            ? 'software'
            : 'exception',
      ...((flags & EXC_HAS_ERROR) !== 0 && { error }),
      address,
      name: this.#symbols?.nameOf(linear),
      cpl: this.#word(S_CPL),
      stack: this.#long(S_RSP),
      accumulator: this.#long(S_RAX),
      cr2: this.#long(S_CR2),
    });
  }
}
