import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import type { InsnRow } from '#isa/x86/insn.ts';
import { TABLE } from '#isa/x86/table.ts';
import { Decoder } from '#translate/x86/decode.ts';
import { disassemble, disassembleBytes } from '#translate/x86/disassemble.ts';
import { Random } from './random.ts';

// The disassembler against objdump: random encodings of every row, in all three sizes of code.

const dir = mkdtempSync(path.join(os.tmpdir(), 'ring0-disassemble-'));
after(() => rmSync(dir, { recursive: true }));

const SLOT = 32;
const NOP = 0x90;
const PER_ROW = 12;
const ARCHITECTURES = { 2: 'i8086', 4: 'i386', 8: 'i386:x86-64' } as const;
type CodeSize = keyof typeof ARCHITECTURES;

/** A row's opcode with prefixes that it may have, and random bytes. */
function randomEncoding(row: InsnRow, codeSize: CodeSize, random: Random): number[] {
  const { opcode, operands, options } = row;
  const bytes: number[] = [];
  const rex = codeSize === 8 && random.below(2) === 0 ? randomRex(row, random) : 0;
  if (typeof options.prefix === 'number') bytes.push(options.prefix);
  // Where the operand size changes the operands. With 66 our branches and stacks are Intel's, objdump's AMD's.
  else if (rex < 0x48 && canNarrow(row) && random.below(4) === 0) bytes.push(0x66);
  if (operands.some((o) => 'EM'.includes(o.kind)) && random.below(8) === 0) bytes.push(0x67);
  if (options.rep === true && random.below(3) === 0) bytes.push(0xf3);
  if (rex !== 0) bytes.push(rex);
  if (opcode > 0xffff) bytes.push(0x0f, (opcode >> 8) & 0xff);
  else if (opcode > 0xff) bytes.push(0x0f);
  bytes.push(opcode & 0xff);
  while (bytes.length < 15) bytes.push(random.below(256));
  return bytes;
}

/** Without W where objdump shows an operand wider than it is, or knows no far pointer of 64 bits. */
function randomRex({ opcode, name, options }: InsnRow, random: Random): number {
  if (options.unit === 'wait') return 0;
  const narrow = opcode === 0xff || name === 'load_far' || options.size === 4;
  return 0x40 | random.below(narrow ? 8 : 16);
}

function canNarrow({ opcode, operands, options }: InsnRow): boolean {
  const branches = opcode === 0xff || options.force64 === true || options.default64 === true;
  return !branches && options.prefix === undefined && operands.some((o) => o.size === 'v');
}

interface Sample {
  readonly at: number;
  readonly ours: string;
  readonly row: string;
}

/** A program of slots, each of an instruction and NOPs, with what we make of them. */
function makeProgram(codeSize: CodeSize, random: Random): { image: Uint8Array; samples: Sample[] } {
  const image = new Uint8Array(TABLE.length * PER_ROW * SLOT).fill(NOP);
  const decoder = new Decoder(image, codeSize);
  const samples: Sample[] = [];
  let at = 0;
  for (const row of TABLE) {
    for (let i = 0; i < PER_ROW; i++) {
      image.set(randomEncoding(row, codeSize, random), at);
      const insn = decoder.decode(at, at + 16);
      if (typeof insn !== 'string' && insn.row.opcode === row.opcode) {
        image.fill(NOP, at + insn.length, at + SLOT);
        const place = { rip: BigInt(at), codeSize };
        samples.push({ at, ours: disassemble(insn, place), row: insn.row.name });
        at += SLOT;
      } else image.fill(NOP, at, at + SLOT);
    }
  }
  return { image: image.subarray(0, at), samples };
}

function objdump(image: Uint8Array, codeSize: CodeSize): Map<number, string> {
  const file = path.join(dir, 'program.bin');
  writeFileSync(file, image);
  const flags = ['-D', '-b', 'binary', '-m', ARCHITECTURES[codeSize], '-M', 'intel'];
  const list = execFileSync('objdump', [...flags, '--no-show-raw-insn', '-z', file], {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  const lines = list.matchAll(/^ *([0-9a-f]+):\t(.*)$/gm);
  return new Map([...lines].map(([, at = '', text = '']) => [Number.parseInt(at, 16), text]));
}

/** Names that objdump has for prefixes that change nothing, and other ways of writing the same. */
function normal(text: string, codeSize: CodeSize): string {
  return (
    text
      .replace(/ *(#|<|\(\d+ only).*/, '')
      .replaceAll(/\s+/g, ' ')
      .replace(/\b((rex(\.\w+)?|data16|data32|addr32|addr16) )+/, '')
      .replace(/^((ds|es|cs|ss|fs|gs|repz|repnz|notrack|bnd) )+/, '')
      .replace(/^([a-z]+) ([0-9a-f]+)$/, '$1 0x$2')
      .replace('TBYTE', 'FWORD')
      .replace('OWORD', 'XMMWORD')
      .replace(/^(sysret|sysexit|[ls][gi]dt)[dw]\b/, '$1')
      .replace(/^(pusha|popa|pushf|popf|iret|retf)[wd]?\b/, '$1')
      .replace(/([er]ip)\+0xf{8}([0-9a-f]{8})\b/, (_, ip, low) => negative(ip, low))
      // Branches of 16-bit code stay in their segment.
      .replace(
        codeSize === 2 ? /^([a-z]+ 0x)\w(\w{4})$/ : /(?!)/,
        (_, head, low) => head + low.replace(/^0+(?=.)/, ''),
      )
      .trim()
  );
}

/** objdump refuses some forms that processors run, shows the index that a SIB byte does not have, and takes PCLMULQDQ's 2 and 3 for 16 and 17. */
function isKnown(text: string): boolean {
  return !/\(bad\)|[er]iz|bnd|cldemote|prefetchit|pclmul/.test(text);
}

function negative(ip: string, low: string): string {
  return `${ip}-0x${(2 ** 32 - Number.parseInt(low, 16)).toString(16)}`;
}

describe('the disassembler writes what objdump writes', () => {
  for (const [codeSize, seed] of [
    [8, 1],
    [8, 2],
    [4, 3],
    [2, 4],
  ] as const) {
    it(`${codeSize * 8}-bit code, seed ${seed}`, () => {
      const { image, samples } = makeProgram(codeSize, new Random(seed));
      const theirs = objdump(image, codeSize);
      const differing = samples.filter(({ at, ours }) => {
        const text = theirs.get(at) ?? '';
        return isKnown(text) && normal(text, codeSize) !== normal(ours, codeSize);
      });
      const shown = differing.map(({ at, ours, row }) => `${row}: ${ours} | ${theirs.get(at)}`);
      assert.deepEqual(shown, []);
      assert.ok(samples.length > TABLE.length * 4);
    });
  }
});

describe('what is no instruction', () => {
  const cases = [
    { bytes: [0x0f, 0x0b], text: 'ud2', length: 2 },
    { bytes: [0x0f, 0x04, 0x90], text: '(bad)', length: 1 },
    { bytes: [0x48, 0x8b], text: '(cut off)', length: 0 },
    { bytes: [], text: '(cut off)', length: 0 },
    { bytes: Array.from({ length: 20 }, () => 0x66), text: '(bad)', length: 1 },
  ];
  for (const { bytes, text, length } of cases)
    it(`${bytes.slice(0, 3)} is ${text}`, () => {
      const place = { rip: 0n, codeSize: 8 } as const;
      assert.deepEqual(disassembleBytes(Uint8Array.from(bytes), place), { text, length });
    });

  it('names branch targets and addresses relative to RIP', () => {
    const nameOf = (address: bigint) => (address === 0x1010n ? 'here+0x4' : undefined);
    const at = (bytes: number[]) =>
      disassembleBytes(Uint8Array.from(bytes), { rip: 0x1000n, codeSize: 8, nameOf }).text;
    assert.equal(at([0xeb, 0x0e]), 'jmp    0x1010 <here+0x4>');
    assert.equal(at([0x48, 0x8d, 0x05, 9, 0, 0, 0]), 'lea    rax,[rip+0x9] # 0x1010 <here+0x4>');
  });

  it('whatever the bytes are, it makes a line of them', () => {
    const random = new Random(5);
    for (let i = 0; i < 20_000; i++) {
      const bytes = Uint8Array.from({ length: random.below(17) }, () => random.below(256));
      const codeSize = random.pick([2, 4, 8] as const);
      const { text, length } = disassembleBytes(bytes, { rip: random.u64(), codeSize });
      assert.ok(text.length > 0 && !text.includes('?') && !text.includes('undefined'), text);
      assert.ok(length <= bytes.length || length === 1);
    }
  });
});
