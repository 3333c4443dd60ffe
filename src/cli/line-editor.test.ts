import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { LineEditor } from './line-editor.ts';

describe('lines that are typed', () => {
  const cases = [
    { name: 'end with Enter', typed: 'a\rb\n', echo: 'a\r\nb\r\n', lines: ['a', 'b'], pending: '' },
    {
      name: 'take characters back',
      typed: 'ab\x7fc\b',
      echo: 'ab\b \bc\b \b',
      lines: [],
      pending: 'a',
    },
    { name: 'have nothing to take back', typed: '\x7fx', echo: 'x', lines: [], pending: 'x' },
    {
      name: 'are dropped by Ctrl-U',
      typed: 'ab\x15c',
      echo: 'ab\b \b\b \bc',
      lines: [],
      pending: 'c',
    },
    { name: 'and by Ctrl-C', typed: 'a\x03', echo: 'a\b \b', lines: [], pending: '' },
    {
      name: 'have no arrows',
      typed: 'a\x1b[Ab\x1b[3~c\x1bOPd',
      echo: 'abcd',
      lines: [],
      pending: 'abcd',
    },
    {
      name: 'have no control characters',
      typed: 'a\x00\x07b',
      echo: 'ab',
      lines: [],
      pending: 'ab',
    },
  ];
  for (const { name, typed, echo, lines, pending } of cases)
    it(name, () => {
      const editor = new LineEditor();
      assert.deepEqual(editor.feed(Buffer.from(typed, 'latin1')), { echo, lines });
      assert.equal(editor.pending, pending);
    });

  it('may come a key at a time, and have an end', () => {
    const editor = new LineEditor();
    for (const key of `${'x'.repeat(5000)}\x1b[A`) editor.feed(Buffer.from(key));
    assert.equal(editor.pending.length, 4096);
  });
});
