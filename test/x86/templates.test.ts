import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import type { HandlerMap } from '#cpu/handlers.ts';
import { Predecoder } from '#cpu/predecode.ts';
import {
  B_BYTES,
  B_COUNT,
  B_HEADER,
  B_RECORDS,
  BLOCK_RECORDS,
  KEY_CODE32,
  KEY_CODE64,
  KEY_FLAT,
  KEY_NO_FPU,
  KEY_NO_SSE,
  KEY_PROTECTED,
  KEY_STACK32,
  KEY_STACK64,
  KEY_USER,
  REC_SIZE,
} from '#ir/state.ts';
import type { InsnRow } from '#isa/x86/insn.ts';
import { FEATURES } from '#isa/x86/insn.ts';
import { TABLE } from '#isa/x86/table.ts';
import { Decoder } from '#translate/x86/decode.ts';
import { BareMachine } from './bare-machine.ts';
import { type CodeSize, encode } from './encode.ts';
import { Random } from './random.ts';

// What core/ makes of code from templates must be what the predecoder makes of it. RING0_SEED replays a run.

const seed = Number(process.env['RING0_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
/** What the key has besides when code is made from what was learnt without it: privilege changes nothing, a unit that is off does. */
const BESIDES = [0, 0, KEY_USER, KEY_NO_FPU | KEY_NO_SSE];
const CODE = 0x1000;
const HLT = 0xf4;
const NOP = 0x90;
const KEYS: Readonly<Record<CodeSize, number>> = {
  2: KEY_FLAT | KEY_PROTECTED,
  4: KEY_FLAT | KEY_PROTECTED | KEY_CODE32 | KEY_STACK32,
  8: KEY_FLAT | KEY_PROTECTED | KEY_CODE64 | KEY_STACK64,
};

const machine = new BareMachine(4 << 20);
const { memory, cpu, ram, bytes, view, vcpu } = machine;
const { core } = vcpu;
const blockOfTemplates = core['block_of_templates'] as (
  cpu: number,
  paddr: number,
  key: number,
  at: number,
) => number;
const handlers = JSON.parse(
  readFileSync(new URL('../../build/handlers.json', import.meta.url), 'utf8'),
) as HandlerMap;
const features = new Set(FEATURES);
const plain = new Predecoder(memory, cpu, core, handlers, features);

/** Count, bytes and records of a block. */
function contents(block: number): string {
  const records = view.getUint32(block + B_RECORDS, true);
  const from = block + B_HEADER;
  const hex = Buffer.from(bytes.slice(from, from + records * REC_SIZE)).toString('hex');
  const field = (at: number) => view.getUint32(block + at, true);
  return [field(B_COUNT), field(B_BYTES), ...(hex.match(/.{48}/g) ?? [])].join('\n');
}

/** The instruction with another displacement and another immediate. */
function vary(code: Uint8Array, head: number, random: Random): Uint8Array {
  return code.map((byte, i) => (i < head ? byte : random.below(256)));
}

type Outcome = 'not-code' | 'left-out' | 'unit-off' | 'made';

/** Has core/ learn an encoding of a row, and compares what becomes of another of the same head. */
function compare(row: InsnRow, random: Random, size: CodeSize, besides: number): Outcome {
  const key = KEYS[size] | besides;
  const code = Uint8Array.of(...encode(row, random, size).bytes, HLT);
  const insn = new Decoder(code, size).decode(0, code.length);
  if (typeof insn === 'string') return 'not-code';
  const before = random.below(8);
  const paddr = CODE + 0x100 * random.below(16);
  const at = ram + paddr + before;
  bytes.fill(NOP, ram + paddr, at);
  bytes.set(code, at);
  bytes.fill(HLT, at + code.length, at + 32);
  core.known_block(cpu, paddr, KEYS[size]);
  bytes.set(vary(code.subarray(0, insn.length), insn.headBytes, random), at);
  const wanted = contents(plain.predecode(paddr, BigInt(paddr), key));
  const block = core.new_block(cpu, BLOCK_RECORDS);
  const records = blockOfTemplates(cpu, paddr, key, block);
  if (row.options.unit !== undefined && (besides & KEY_NO_FPU) !== 0) {
    assert.equal(records, 0, `${row.name}: its unit is off`);
    return 'unit-off';
  }
  if (records === 0) return 'left-out';
  assert.equal(contents(block), wanted, `${row.name}: ${Buffer.from(code).toString('hex')}`);
  return 'made';
}

describe(`blocks from templates (RING0_SEED=${seed})`, () => {
  for (const size of [2, 4, 8] as const)
    it(`${size * 8}-bit code`, () => {
      const random = new Random(seed + size);
      const rows = TABLE.filter((r) => r.options[size === 8 ? 'not64' : 'only64'] !== true);
      const outcomes = rows.flatMap((row) =>
        BESIDES.map((besides) => compare(row, random, size, besides)),
      );
      const count = (which: Outcome) => outcomes.filter((o) => o === which).length;
      // Left out: absolute addresses, far pointers, two immediates, what raises #UD.
      assert.ok(count('made') > 10 * count('left-out'), `${count('left-out')} left out`);
    });
});
