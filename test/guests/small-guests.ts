import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { assemble, cannotAssemble } from './assemble.ts';
import { GuestMachine, type Tier } from './guest-machine.ts';

/** A guest that runs to its end in ring 0 and what it prints. */
export interface SmallGuest {
  readonly name: string;
  readonly body: string;
  readonly expected: string;
}

/** With translation the first round translates and the second enters what was translated. */
const TIERS: readonly { readonly tier: Tier; readonly rounds: number }[] = [
  { tier: 'cold', rounds: 1 },
  { tier: 'hot', rounds: 3 },
  { tier: 'lockstep', rounds: 2 },
];

function link(runtime: string, guests: readonly SmallGuest[]): Uint8Array {
  const bodies = guests.map((guest, i) => `body${i}:\n${guest.body}\n`).join('');
  const table = guests.map((_, i) => `.long body${i}`).join('\n');
  const source = `${runtime}\n${bodies}\n.data\n.balign 4\nbodies:\n${table}\n`;
  const flags = ['--oformat', 'binary', '-Ttext=0x100000', '-e', '0x100000'];
  return assemble(source, ['--64'], [...flags, '--no-warn-rwx-segments']);
}

/** Tests that each guest prints what is expected, interpreted, translated, and with both compared. */
export function testSmallGuests(
  title: string,
  runtime: string,
  guests: readonly SmallGuest[],
): void {
  describe(title, { timeout: 300_000, skip: cannotAssemble }, () => {
    const image = cannotAssemble === false ? link(runtime, guests) : new Uint8Array();
    for (const { tier, rounds } of TIERS) {
      const machine = new GuestMachine(image, tier);
      for (const [i, { name, expected }] of guests.entries()) {
        it(`${name} (${tier})`, () => {
          const text = machine.run(i, rounds);
          const lines = text.split('\n').map((line) => line.trim().replace(/ +/g, ' '));
          const whole = expected.endsWith('crash') ? 1 : rounds;
          assert.deepEqual(
            lines.filter((line) => line !== ''),
            Array.from({ length: whole }, () => expected),
          );
        });
      }
      if (tier === 'lockstep')
        it('translated code was compared', () => assert.ok(machine.compared > 0));
    }
  });
}
