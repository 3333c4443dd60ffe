import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { RegionRequest } from '#cpu/region-compiler.ts';
import { readState } from '#cpu/vcpu-state.ts';
import { HEAT_START } from '#ir/state.ts';
import {
  assemble,
  CODE,
  DATA,
  DATA_PADDR,
  DATA_PAGES,
  DATA_TABLE,
  GuestMachine,
  missingTools,
} from './guest-machine.ts';

// A region gives up where the TLB does not have a page. After a thousand times it is made again, so that core/ looks for each.

const ROUNDS = 3000;
/** As core/hot.ts has it. */
const MOST_GIVEN_UP = 1000;

/** A round of two regions: CPUID and INVLPG are the interpreter's. */
const program = (access: string, rounds = ROUNDS) => `
  on_irq: on_fault: hlt
  start: mov $${rounds}, %r15d
  mov $${DATA}, %rsi
  mov $0x1122334455667788, %rax
  mov %rax, 4088(%rsi)
  not %rax
  mov %rax, 4096(%rsi)
  1: ${access}
  add %r8, %r14
  rol $3, %r14
  2: xor %eax, %eax
  cpuid
  invlpg (%rsi)
  dec %r15d
  jnz 1b
  out %al, $0xf4
  1: jmp 1b\n`;

/** The same, of accesses in a loop. */
const looped = (access: string) => `mov $2, %ecx\n3: ${access}\nxor %r9, %r8\ndec %ecx\njnz 3b`;
const BOTH_PAGES = 'mov 4088(%rsi), %r9\nmov 4096(%rsi), %r8';
const PAGE = 4096;

/** Code in a page, a port written to, code in another page, and that again. */
const TWO_PLACES = `
  on_irq: on_fault: hlt
  start: mov $20, %r15d
  1: call 2f
  dec %r15d
  jnz 1b
  jmp elsewhere
  2: inc %eax
  ret
  .org 4096
  elsewhere: out %al, $0x80
  mov $20, %r15d
  1: call 2f
  dec %r15d
  jnz 1b
  out %al, $0x80
  nop
  jmp 1f
  1: out %al, $0xf4
  1: jmp 1b
  2: inc %eax
  ret\n`;

interface RegionHelpers {
  region_gave_up(cpu: number, slot: number): void;
}

const cases = [
  { name: 'a page that is always new', access: 'mov 8(%rsi), %r8', again: true },
  { name: 'bytes in two pages', access: 'mov 4092(%rsi), %r8', again: true },
  { name: 'a page that is there', access: 'mov 4096(%rsi), %r8', again: false },
  { name: 'a new page in a loop', access: looped('mov 8(%rsi), %r8'), again: true },
  { name: 'a page that is there in a loop', access: looped('mov 4096(%rsi), %r8'), again: false },
  { name: 'pages in a row in a loop', access: looped(BOTH_PAGES), again: true },
  { name: 'pages that lie apart in a loop', access: looped(BOTH_PAGES), again: true, apart: true },
];

describe('what a region gives up', { skip: missingTools() }, () => {
  for (const { name, access, again, apart = false } of cases)
    it(`${name}: ${again ? 'is' : 'is not'} made again`, () => {
      const code = assemble(program(access));
      const run = (verify: boolean, heat: number) => {
        const again: number[] = [];
        const machine = new GuestMachine({
          verify,
          heat,
          translator: (real) => ({
            request: (request, epoch) => {
              if (request.again !== undefined) again.push(request.block);
              real.request(request, epoch);
            },
            hasNews: () => real.hasNews(),
            take: () => real.take(),
          }),
        });
        machine.load(code);
        const last = DATA_PADDR + (DATA_PAGES - 1) * PAGE;
        if (apart) machine.setWord(DATA_TABLE + 8, BigInt(last) | 7n);
        machine.run();
        assert.equal(again.length, new Set(again).size);
        const result = readState(machine.memory, machine.cpu).regs[14];
        return { result, again: again.length > 0 };
      };
      const interpreted = run(false, 0);
      for (const verify of [false, true])
        assert.deepEqual(run(verify, 2), { ...interpreted, again });
    });

  it('is asked for once, however long that takes', () => {
    const requests: RegionRequest[] = [];
    const machine = new GuestMachine({
      verify: false,
      translator: (real) => ({
        request: (request, epoch) => {
          requests.push(request);
          if (request.again === undefined) real.request(request, epoch);
        },
        hasNews: () => real.hasNews(),
        take: () => real.take(),
      }),
    });
    machine.load(assemble(program('mov 8(%rsi), %r8', 2 * HEAT_START)));
    machine.run();
    const again = requests.findIndex((request) => request.again !== undefined);
    const { block } = requests[again] ?? {};
    assert.notEqual(block, undefined);
    const later = requests.slice(again + 1).filter((request) => request.block === block);
    assert.deepEqual(later, []);
  });

  it('is no matter of the region that has its place since', () => {
    const requests: RegionRequest[] = [];
    let isHeld = false;
    const machine = new GuestMachine({
      verify: false,
      translator: (real) => ({
        request: (request, epoch) => {
          requests.push(request);
          real.request(request, epoch);
        },
        hasNews: () => !isHeld && real.hasNews(),
        take: () => (isHeld ? [] : real.take()),
      }),
      portWritten: ({ outs, vcpu, cpu, bytes, ram }) => {
        const isSecond = isHeld;
        isHeld = outs.length === 1;
        if (!isSecond) return;
        const { region_gave_up } = vcpu.core as unknown as RegionHelpers;
        const slots = vcpu.hotStats?.regions ?? 0;
        assert.ok(slots > 0);
        for (let slot = 1; slot <= slots; slot++)
          for (let i = 0; i < MOST_GIVEN_UP; i++) region_gave_up(cpu, slot);
        // Their code goes before the vCPU looks around.
        machine.dma(CODE, bytes.slice(ram + CODE, ram + CODE + 1));
      },
    });
    machine.load(assemble(TWO_PLACES));
    machine.run();
    const places = requests.map(({ rip }) => Number(rip) >> 12);
    assert.ok(places.includes(CODE >> 12) && places.includes((CODE >> 12) + 1));
    assert.deepEqual(
      requests.filter(({ again }) => again !== undefined),
      [],
    );
  });
});
