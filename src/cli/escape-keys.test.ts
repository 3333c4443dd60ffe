import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type EscapeAction, EscapeKeys } from './escape-keys.ts';

describe('EscapeKeys', () => {
  const cases: { name: string; typed: string[]; forGuest: string; actions: EscapeAction[] }[] = [
    {
      name: 'plain keys and Ctrl-C go to the guest',
      typed: ['ls\r\x03'],
      forGuest: 'ls\r\x03',
      actions: [],
    },
    { name: 'Ctrl-A X quits', typed: ['a\x01xb'], forGuest: 'ab', actions: ['quit'] },
    {
      name: 'a sequence split between reads',
      typed: ['\x01', 'x'],
      forGuest: '',
      actions: ['quit'],
    },
    { name: 'upper case', typed: ['\x01X\x01H'], forGuest: '', actions: ['quit', 'help'] },
    { name: 'Ctrl-A twice sends one', typed: ['\x01\x01x'], forGuest: '\x01x', actions: [] },
    { name: 'Ctrl-A A sends one, as in screen', typed: ['\x01a'], forGuest: '\x01', actions: [] },
    { name: 'the monitor', typed: ['\x01c'], forGuest: '', actions: ['monitor'] },
    { name: 'other keys after Ctrl-A are dropped', typed: ['\x01qz'], forGuest: 'z', actions: [] },
  ];
  for (const { name, typed, forGuest, actions } of cases) {
    it(name, () => {
      const keys = new EscapeKeys();
      let text = '';
      const all: EscapeAction[] = [];
      for (const part of typed) {
        for (const result of keys.feed(Buffer.from(part, 'latin1')))
          if (typeof result === 'string') all.push(result);
          else text += Buffer.from(result).toString('latin1');
      }
      assert.equal(text, forGuest);
      assert.deepEqual(all, actions);
    });
  }

  it('keeps what is typed around a sequence apart', () => {
    const parts = new EscapeKeys().feed(Buffer.from('a\x01cb', 'latin1'));
    assert.deepEqual(parts, [Uint8Array.of(0x61), 'monitor', Uint8Array.of(0x62)]);
  });
});
