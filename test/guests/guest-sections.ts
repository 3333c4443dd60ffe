import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { before, describe, it } from 'node:test';
import { INTERRUPT_RUNTIME } from './interrupt-runtime.ts';
import { RUNTIME } from './ring0-runtime.ts';
import { runSmallGuest } from './run-small-guest.ts';
import { smallKernel } from './small-kernel.ts';

/** A part of a guest: assembly that ends in RET, and the line it prints. */
export interface Section {
  readonly name: string;
  readonly body: string;
  readonly expected: string;
}

/** One guest that runs all sections, each from chips in a known state, and a test for each. */
export function describeGuest(name: string, sections: readonly Section[]): void {
  const missing = ['as', 'ld'].filter((tool) => spawnSync(tool, ['--version']).status !== 0);
  const skip = missing.length > 0 ? `no ${missing.join(', ')}; install binutils` : false;
  describe(name, { timeout: 300_000, skip }, () => {
    let lines: string[] = [];
    before(async () => {
      const printed = await runSmallGuest(smallKernel(guestOf(sections)));
      lines = printed.split('\n').map((line) => line.trim());
    });
    for (const [index, { name: what, expected }] of sections.entries())
      it(what, () => assert.equal(lines[index], expected));
  });
}

function guestOf(sections: readonly Section[]): string {
  const calls = sections.map((_, n) => `call fresh\ncall section_${n}\ncli\ncall new_line\n`);
  const bodies = sections.map(({ body }, n) => `section_${n}:\n${body}\nret\n`);
  return `${RUNTIME}${INTERRUPT_RUNTIME}
body: call interrupts
${calls.join('')}ret
new_line: mov $'\\n', %al
out %al, $0xe9
ret
${bodies.join('')}`;
}
