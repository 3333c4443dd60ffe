import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { findModel } from '#cpu/cpuid.ts';
import { layOut } from '#cpu/layout.ts';
import { writeState } from '#cpu/vcpu-state.ts';
import { ManualClock } from '#hw/testing.ts';
import { BoardHost } from '#vmm/board-host.ts';
import { GuestClock } from '#vmm/guest-clock.ts';
import { BareMachine } from '../x86/bare-machine.ts';
import { assemble, cannotAssemble } from './assemble.ts';
import { INTERRUPT_RUNTIME } from './interrupt-runtime.ts';
import { RUNTIME } from './ring0-runtime.ts';

// The ACPI timer's top bit changes every ten minutes: a guest meets it where each look at the clock is one at a minute later.

const RAM_BYTES = 8 << 20;
const LOAD_AT = 0x100000;
const MINUTE_NS = 60e9;
const MOST_MINUTES = 100;
const PM1_ENABLE = 0x602;

/** What a guest prints that runs on the board, time going by in minutes. */
function runInMinutes(body: string): { text: string; minutes: number } {
  const clock = new ManualClock();
  const chips: BoardHost[] = [];
  // Getting there takes no time.
  let isTicking = false;
  const board = (): BoardHost => {
    const [first] = chips;
    assert.ok(first);
    return first;
  };
  const bare = new BareMachine(RAM_BYTES, {
    host: {
      portRead: (port, size) => board().portRead(port, size),
      portWrite: (port, size, value) => {
        isTicking ||= port === PM1_ENABLE;
        board().portWrite(port, size, value);
      },
      mmioRead: (paddr, size) => board().mmioRead(paddr, size),
      mmioWrite: (paddr, size, value) => board().mmioWrite(paddr, size, value),
      hasInterrupt: () => board().hasInterrupt(),
      acknowledge: () => board().acknowledge(),
      takeNmi: () => board().takeNmi(),
      nextDeadlineNs: () => clock.ns,
      nowNs: () => clock.ns,
      poll: (nowNs) => {
        if (isTicking) clock.ns += MINUTE_NS;
        board().poll(nowNs);
      },
      ended: () => (clock.ns > MOST_MINUTES * MINUTE_NS ? { type: 'stopped' } : board().ended()),
      intercept: () => false,
    },
  });
  const output: Uint8Array[] = [];
  chips.push(
    new BoardHost({
      memory: bare.memory,
      layout: layOut(1, RAM_BYTES, 0),
      ramBytes: RAM_BYTES,
      model: findModel('ring0-v2'),
      clock: new GuestClock(
        () => clock.nowNs(),
        () => clock.wallMs(),
      ),
      log: { guestBug: () => {} },
      output: (bytes) => output.push(bytes),
      cards: [],
      assignCards: false,
      wakeDevices: () => {},
      haltedForGood: () => {},
      takeSlotEvent: () => undefined,
    }),
  );
  const flags = ['--oformat', 'binary', '-Ttext=0x100000', '-e', '0x100000'];
  const source = `${RUNTIME}${INTERRUPT_RUNTIME}body: call interrupts\ncall fresh\n${body}\nret\n`;
  bare.bytes.set(
    assemble(source, ['--64'], [...flags, '--no-warn-rwx-segments']),
    bare.ram + LOAD_AT,
  );
  const flat = { selector: 0, base: 0n, limit: 0xffff_ffff };
  const data = { ...flat, rights: 0xc093 };
  writeState(bare.memory, bare.cpu, {
    segments: [data, { ...flat, rights: 0xc09b }, data, data, data, data],
    cr0: 0x11n,
    regs: [0, 1, ...Array.from({ length: 14 }, () => 0)].map(BigInt),
    rflags: 2n,
    rip: BigInt(LOAD_AT),
  });
  bare.vcpu.core.updateKey(bare.cpu);
  bare.run();
  board().flush();
  return { text: Buffer.concat(output).toString().trim(), minutes: clock.ns / MINUTE_NS };
}

describe('the ACPI timer', { skip: cannotAssemble }, () => {
  it('interrupts by the SCI when its top bit changes, until its status is cleared', () => {
    const { text, minutes } = runInMinutes(`entry 9 0x8029
      movl $no_eoi, hook
      outb 0x602 1
      sti
      1: cmpl $1, counts+4*0x29
      jne 1b
      cli
      inb 0x600
      show8
      outb 0x600 1
      inb 0x600
      show8
      apic 0xb0 0
      sti
      nop
      count 0x29
      2: cmpl $2, counts+4*0x29
      jne 2b
      cli
      inb 0x600
      show8`);
    assert.equal(text, 'i29 01 00 01 i29 01');
    assert.ok(minutes > 20 && minutes < 30, `${minutes} minutes`);
  });
});
