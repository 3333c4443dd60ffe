import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import type { HandlerMap } from '#cpu/handlers.ts';
import { liftHot } from '#cpu/hot-lift.ts';
import { Predecoder } from '#cpu/predecode.ts';
import {
  B_HEADER,
  B_RECORDS,
  KEY_CODE64,
  KEY_FLAT,
  KEY_PROTECTED,
  KEY_STACK64,
  REC_SIZE,
} from '#ir/state.ts';
import { FEATURES } from '#isa/x86/insn.ts';
import { Decoder } from '#translate/x86/decode.ts';
import { BareMachine } from './bare-machine.ts';

// A driver and a device look at each other's memory: what orders accesses on a processor has to order them here.

const KEY = KEY_FLAT | KEY_PROTECTED | KEY_CODE64 | KEY_STACK64;
const CODE = 0x1000;
const HLT = 0xf4;

const { memory, cpu, ram, bytes, view, vcpu } = new BareMachine(1 << 20);
const handlers = JSON.parse(
  readFileSync(new URL('../../build/handlers.json', import.meta.url), 'utf8'),
) as HandlerMap;
const features = new Set(FEATURES);
const predecoder = new Predecoder(memory, cpu, vcpu.core, handlers, features);

function fencesInBlock(code: readonly number[]): number {
  bytes.set([...code, HLT], ram + CODE);
  const block = predecoder.predecode(CODE, BigInt(CODE), KEY);
  const records = view.getUint32(block + B_RECORDS, true);
  const ids = Array.from({ length: records }, (_, i) =>
    view.getUint16(block + B_HEADER + i * REC_SIZE, true),
  );
  return ids.filter((id) => id === handlers.special['fence']).length;
}

function fencesInIr(code: readonly number[]): number {
  const insn = new Decoder(Uint8Array.from(code), 8).decode(0, code.length);
  assert.ok(typeof insn !== 'string');
  const ir = liftHot(insn, KEY, features);
  assert.ok(typeof ir !== 'string', String(ir));
  return ir.insts.filter((inst) => inst.attr.helper === 'fence').length;
}

const CASES: readonly [name: string, code: readonly number[], fences: number][] = [
  ['mfence', [0x0f, 0xae, 0xf0], 1],
  ['xchg [rbx], eax', [0x87, 0x03], 1],
  ['lock add [rbx], eax', [0xf0, 0x01, 0x03], 1],
  ['lock add dword [rsp - 4], 0', [0xf0, 0x83, 0x44, 0x24, 0xfc, 0x00], 1],
  ['lock cmpxchg [rbx], ecx', [0xf0, 0x0f, 0xb1, 0x0b], 1],
  ['xchg ebx, eax', [0x87, 0xc3], 0],
  ['add [rbx], eax', [0x01, 0x03], 0],
  ['lfence', [0x0f, 0xae, 0xe8], 0],
];

describe('fences', () => {
  for (const [name, code, fences] of CASES)
    it(`${name}: ${fences}`, () => {
      assert.deepEqual([fencesInBlock(code), fencesInIr(code)], [fences, fences]);
    });
});
