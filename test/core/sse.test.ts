import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { MMX } from '#isa/x86/mmx.ts';
import { SSE } from '#isa/x86/sse.ts';
import { areOpenNans } from '../x86/makers.ts';
import { type Encoding, encodings, fillVector, Random, randomMxcsr } from './sse-cases.ts';
import {
  ARITHMETIC_FLAGS,
  C_EFLAGS,
  C_MEM,
  C_MM,
  C_MXCSR,
  C_RAX,
  C_TRAPPED,
  C_XMM,
  CASE_SIZE,
  SseMachine,
} from './sse-machine.ts';

// Every MMX and SSE instruction, each form, against the host's processor: all registers, flags, MXCSR and faults.

const CASES = Number(process.env['RING0_SSE_CASES'] ?? 300);
const FRESH_CASES = 40;
const SIGILL = 4;
const core = new WebAssembly.Module(
  readFileSync(process.env['RING0_CORE'] ?? new URL('../../build/core.wasm', import.meta.url)),
);
const all = [...SSE, ...MMX].flatMap(encodings);
const machine = new SseMachine(core, all);
const folder = mkdtempSync(join(tmpdir(), 'ring0-sse-'));
after(() => rmSync(folder, { recursive: true }));

function buildOracle(): string | undefined {
  const program = join(folder, 'oracle');
  const source = new URL('sse-oracle.c', import.meta.url).pathname;
  if (process.arch !== 'x64') return undefined;
  return spawnSync('gcc', ['-O1', '-mno-red-zone', '-o', program, source]).status === 0
    ? program
    : undefined;
}
const oracle = buildOracle();

function floatsOf(name: string): 'single' | 'double' | 'none' {
  if (/pd$|sd$|sd_sse$|sd2|pd2/.test(name)) return 'double';
  return /ps$|ss$|ps2|ss2/.test(name) ? 'single' : 'none';
}

function makeCases(encoding: Encoding, r: Random, count: number): Uint8Array {
  const cases = new Uint8Array(count * CASE_SIZE);
  for (let at = 0; at < cases.length; at += CASE_SIZE) {
    makeCase(encoding, r, cases.subarray(at, at + CASE_SIZE));
  }
  return cases;
}

/** Small values of either sign, or numbers of any length. */
function randomInteger(r: Random): bigint {
  if (r.below(2) === 0) return BigInt.asUintN(64, BigInt(r.below(40) - 20));
  return r.u64() >> BigInt(r.below(40));
}

function makeCase({ row, bytes, immediateAt }: Encoding, r: Random, into: Uint8Array): void {
  const view = new DataView(into.buffer, into.byteOffset, CASE_SIZE);
  const floats = floatsOf(row.name);
  into.fill(0x90, 0, 16);
  into.set(bytes);
  if (immediateAt >= 0) view.setUint8(immediateAt, r.below(r.of([256, 20])));
  for (let i = 0; i < 3; i++) view.setBigUint64(C_RAX + 8 * i, randomInteger(r), true);
  view.setUint32(C_MXCSR, randomMxcsr(r), true);
  for (let i = 0; i < 4; i++) fillVector(r, view, C_XMM + 16 * i, floats);
  fillVector(r, view, C_MEM, floats);
  for (const i of [0, 2]) fillVector(r, view, C_MM + 8 * i, r.of(['none', floats]));
  // Small shift counts are the interesting ones, and equal operands.
  if (/^ps[lr]/.test(row.name) && r.below(2) === 0) {
    const counts = [C_MM + 16, C_MEM, C_XMM + 32];
    for (const at of counts) view.setBigUint64(at, BigInt(r.below(70)), true);
  }
  if (r.below(8) === 0) into.copyWithin(C_XMM + 32, C_XMM + 16, C_XMM + 32);
}

/** RCP and RSQRT may differ from the host's table, by the error that either may have. */
function isNear(expected: DataView, actual: DataView): boolean {
  for (let at = C_XMM + 16; at < C_XMM + 32; at += 4) {
    const e = expected.getFloat32(at, true);
    const a = actual.getFloat32(at, true);
    const same = expected.getUint32(at, true) === actual.getUint32(at, true);
    const tiny = Math.abs(e) < 1.2e-38 && Math.abs(a) < 1.2e-38;
    if (!same && !tiny && !(Math.abs(e - a) <= Math.abs(e) * 1.5 * 2 ** -12)) return false;
  }
  return true;
}

function describeCase(c: Uint8Array): string {
  const hex = (from: number, to: number) =>
    Buffer.from(c.subarray(from, to)).reverse().toString('hex');
  const vectors = [0, 1, 2, 3]
    .map((i) => `xmm${i} ${hex(C_XMM + 16 * i, C_XMM + 16 * i + 16)}`)
    .join('  ');
  const mmx = [0, 1, 2, 3].map((i) => `mm${i} ${hex(C_MM + 8 * i, C_MM + 8 * i + 8)}`).join('  ');
  const general = `rax ${hex(16, 24)} rcx ${hex(24, 32)} rdx ${hex(32, 40)} flags ${hex(C_EFLAGS, C_EFLAGS + 8)}`;
  return `  ${vectors}\n  ${mmx}\n  ${general} mxcsr ${hex(C_MXCSR, C_MXCSR + 4)} trap ${c[C_TRAPPED]} mem ${hex(C_MEM, C_MEM + 16)}`;
}

function compareCase(
  form: number,
  encoding: Encoding,
  input: Uint8Array,
  expected: Uint8Array,
): string | undefined {
  const actual = new Uint8Array(input);
  const raised = machine.run(form, encoding, actual);
  const want = new DataView(expected.buffer, expected.byteOffset, CASE_SIZE);
  const have = new DataView(actual.buffer);
  have.setUint32(C_TRAPPED, raised ? 8 : 0, true);
  if (want.getUint32(C_TRAPPED, true) !== 0)
    want.setBigUint64(C_EFLAGS, have.getBigUint64(C_EFLAGS, true), true);
  want.setBigUint64(C_EFLAGS, want.getBigUint64(C_EFLAGS, true) & ARITHMETIC_FLAGS, true);
  const { name } = encoding.row;
  const near = /^r(cp|sqrt)/.test(name) && isNear(want, have);
  const otherNans = [0, 8].every((half) => {
    const at = C_XMM + 16 + half;
    return areOpenNans(name, want.getBigUint64(at, true), have.getBigUint64(at, true));
  });
  if (near || otherNans) actual.set(expected.subarray(C_XMM + 16, C_XMM + 32), C_XMM + 16);
  if (Buffer.compare(actual, expected) === 0) return undefined;
  const code = Buffer.from(input.subarray(0, encoding.bytes.length)).toString('hex');
  return `${code} ${encoding.row.name}\nbefore\n${describeCase(input)}\nhost\n${describeCase(expected)}\nours\n${describeCase(actual)}`;
}

function runCases(
  form: number,
  encoding: Encoding,
  cases: Uint8Array,
): { failures: string[]; illegal: boolean } {
  const result = spawnSync(oracle ?? '', { input: cases, maxBuffer: cases.length + 4096 });
  assert.equal(result.status, 0, 'the oracle ended badly');
  const failures: string[] = [];
  for (let at = 0; at < cases.length; at += CASE_SIZE) {
    const expected = new Uint8Array(result.stdout.subarray(at, at + CASE_SIZE));
    if (expected[C_TRAPPED] === SIGILL) return { failures, illegal: true };
    const failure = compareCase(form, encoding, cases.subarray(at, at + CASE_SIZE), expected);
    if (failure !== undefined) failures.push(failure);
  }
  return { failures, illegal: false };
}

describe('MMX and SSE against the host', {
  skip: oracle === undefined ? 'needs gcc on an x86-64 host' : false,
}, () => {
  const fresh = Number(process.env['RING0_SEED'] ?? Date.now() % 1e9);
  process.stdout.write(`# seed of the fresh cases: RING0_SEED=${fresh}\n`);
  all.forEach((encoding, form) => {
    const { row, memory, opSize } = encoding;
    const operands = row.operands.map((o) => o.kind + o.size).join(' ');
    it(`${row.opcode.toString(16)} ${row.name} ${operands} ${memory ? 'memory' : ''} ${opSize}`, (t) => {
      const fixed = makeCases(encoding, new Random(form + 1), CASES);
      const other = makeCases(encoding, new Random(fresh + form), FRESH_CASES);
      const { failures, illegal } = runCases(form, encoding, Buffer.concat([fixed, other]));
      if (illegal) t.skip('the host does not have it');
      else
        assert.equal(
          failures.length,
          0,
          `${failures.length} of ${CASES + FRESH_CASES} differ\n${failures[0]}`,
        );
    });
  });
});

describe('alignment', () => {
  all.forEach((encoding, form) => {
    const { row, memory } = encoding;
    if (!memory || !row.operands.some((o) => o.size === 'dq' && 'WM'.includes(o.kind))) return;
    const wanted = row.options.aligned === true;
    it(`${row.opcode.toString(16)} ${row.name} ${wanted ? 'raises #GP on' : 'takes'} an unaligned operand`, () => {
      const input = new Uint8Array(CASE_SIZE);
      const view = new DataView(input.buffer);
      view.setUint32(C_MXCSR, 0x1f80, true);
      input.set([1, 2, 3, 4], C_MEM);
      const before = input.slice();
      assert.equal(machine.run(form, encoding, input, 8), wanted);
      if (wanted) assert.deepEqual(input.subarray(0, C_EFLAGS), before.subarray(0, C_EFLAGS));
    });
  });
});

describe('the x87 unit after', () => {
  const left = (name: string, kinds: string) => {
    const form = all.findIndex(
      ({ row }) => row.name === name && row.operands.map((o) => o.kind).join('') === kinds,
    );
    const input = new Uint8Array(CASE_SIZE);
    new DataView(input.buffer).setUint32(C_MXCSR, 0x1f80, true);
    machine.run(form, all[form] as Encoding, input);
    return machine.x87();
  };
  const untouched = { top: 5, empty: 0xff, exponent: 0xffff };
  it('a write to an MMX register: its own, exponent all ones', () =>
    assert.deepEqual(left('paddb', 'PQ'), { top: 0, empty: 0, exponent: 0xffff }));
  it('a read of one: all registers valid', () =>
    assert.deepEqual(left('pmovmskb', 'GN'), { top: 0, empty: 0, exponent: 0xffff }));
  it('EMMS: all empty', () => assert.equal(left('emms', '').empty, 0xff));
  it('CVTPI2PS from memory and SSE: as before', () => {
    assert.deepEqual(left('cvtpi2ps', 'VM'), untouched);
    assert.deepEqual(left('paddb', 'VW'), untouched);
  });
});
