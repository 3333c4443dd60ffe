import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { describe, it } from 'node:test';
import { processHost } from './host.ts';
import { main } from './main.ts';

async function helpOf(...words: readonly string[]): Promise<string> {
  const stdout = new PassThrough();
  assert.equal(
    await main([...words, '--help'], { ...processHost(), stdout, printNow: undefined }),
    0,
  );
  return String(stdout.read());
}

describe('help with examples', () => {
  for (const group of ['guest', 'image', 'appliance'])
    it(`for each command of ${group}`, async () => {
      const help = await helpOf(group);
      const listed = help.slice(help.indexOf('\nCommands:'), help.indexOf('\nExamples:'));
      const names = [...listed.matchAll(/^ {2}(\w+)/gm)].map(([, name]) => name ?? '');
      assert.ok(names.length >= 3, listed);
      for (const name of names)
        assert.match(
          await helpOf(group, name),
          new RegExp(`\nExamples:\n {2}ring0 ${group} ${name}`),
        );
    });
});
