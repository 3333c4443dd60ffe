import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { TranslatedBatch, Translator } from '#cpu/hot-tier.ts';
import { MOST_REGIONS, translate } from '#cpu/immediate-translator.ts';
import type { RegionCompiler, RegionRequest } from '#cpu/region-compiler.ts';
import { assemble, GuestMachine, missingTools } from './guest-machine.ts';

// What the vCPU's thread does at once for code that another thread has translated, counted in modules, regions and bytes.

const LOOPS = 64;
const TURNS = 60;
/** Requests that come while the other thread is busy. */
const WAITING = 48;
/** A look around ends when so much time has gone by (MOST_PAUSE_MS of cpu/hot-tier.ts). */
const PAUSE_MS = 2;
/** WebAssembly of one module at most: what is copied to the thread, and linked there, in one piece. 1.3 MiB took 0.8 ms. */
const MOST_BYTES = 2 << 20;

/** Instructions that become long: accesses with addresses of their own, flags that are stored. */
const BODY = Array.from(
  { length: 24 },
  (_, i) => `add %rax, DATA + ${i * 8}(%rbx)
    adcl $${i + 1}, DATA + 1024 + ${i * 4}(%rbx, %rax)
    pushf
    pop %rdx`,
).join('\n');

/** Loops, one behind the other, again and again: all become hot at about the same time. */
const GUEST = `
  on_irq: on_fault: hlt
  start: mov $${TURNS}, %r15d
  xor %ebx, %ebx
  0: xor %eax, %eax
  ${Array.from({ length: LOOPS }, () => `mov $3, %ecx\n 1: ${BODY}\n dec %ecx\n jnz 1b`).join('\n')}
  next_turn
`;

interface Piece {
  readonly regions: number;
  readonly bytes: number;
}

/** As the translator's thread does it: requests that wait go into one module, and modules are taken one by one. */
class Batching implements Translator {
  readonly #compiler: RegionCompiler;
  #requests: RegionRequest[] = [];
  #epoch = 0;
  #ready: TranslatedBatch[] = [];
  /** What was taken since the last look around. */
  taken: Piece[] = [];

  constructor(compiler: RegionCompiler) {
    this.#compiler = compiler;
  }

  request(request: RegionRequest, epoch: number): void {
    if (epoch !== this.#epoch) this.#requests = [];
    this.#epoch = epoch;
    this.#requests.push(request);
  }

  hasNews(): boolean {
    return this.#requests.length >= WAITING || this.#ready.length > 0;
  }

  take(): readonly TranslatedBatch[] {
    if (this.#requests.length >= WAITING)
      while (this.#requests.length > 0) {
        const batch = this.#requests.splice(0, MOST_REGIONS);
        this.#ready.push(translate(this.#compiler, batch, this.#epoch));
      }
    const next = this.#ready.shift();
    if (next === undefined) return [];
    this.taken.push({ regions: next.regions.length, bytes: next.wasm.length });
    return [next];
  }
}

/** The pieces of each look around in which there were any, when putting one in place takes `costMs`. */
function looks(code: Uint8Array, costMs: number): readonly (readonly Piece[])[] {
  let batching: Batching | undefined;
  let nowMs = 0;
  const found: Piece[][] = [];
  const machine = new GuestMachine({
    verify: false,
    heat: 20,
    slice: () => 40_000,
    // Each question comes after another piece.
    nowMs: () => (nowMs += costMs),
    translator: (_real, _machine, compiler) => {
      batching = new Batching(compiler);
      return batching;
    },
    boundary: () => {
      if (batching === undefined || batching.taken.length === 0) return;
      found.push(batching.taken);
      batching.taken = [];
    },
  });
  machine.load(code);
  machine.run();
  assert.ok((machine.vcpu.hotStats?.regions ?? 0) >= WAITING);
  return found;
}

describe('translated code is put in place in pieces', { skip: missingTools() }, () => {
  const code = missingTools() === false ? assemble(GUEST) : new Uint8Array();
  const cases = [
    { name: 'one where it takes long', costMs: PAUSE_MS, most: 1 },
    { name: 'as many as go into the time', costMs: PAUSE_MS / 2, most: 2 },
  ];
  for (const { name, costMs, most } of cases)
    it(name, () => {
      const found = looks(code, costMs);
      const counts = found.map((pieces) => pieces.length);
      assert.equal(Math.max(...counts), most);
      const pieces = found.flat();
      // Nothing here would be seen if modules were small anyway.
      assert.equal(Math.max(...pieces.map((p) => p.regions)), MOST_REGIONS);
      const largest = Math.max(...pieces.map((p) => p.bytes));
      assert.ok(largest > MOST_BYTES / 4 && largest <= MOST_BYTES, `${largest} bytes`);
    });
});
