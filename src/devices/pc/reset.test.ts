import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { newDeviceState } from '#hw/state.ts';
import { DebugExit, E9Port, POST_STATE, PostPort } from './debug-ports.ts';
import { RESET_CONTROL_STATE, ResetControl, SYSTEM_CONTROL_STATE, SystemControl } from './reset.ts';

describe('port 0xcf9', () => {
  const cases = [
    {
      name: 'as Linux and the FADT do: 2, then 6',
      writes: [0x02, 0x06],
      expected: 1,
    },
    { name: '6 alone', writes: [0x06], expected: 1 },
    { name: 'no change of bit 2', writes: [0x02, 0x00], expected: 0 },
    {
      name: 'again only after it was 0',
      writes: [0x06, 0x06, 0x02, 0x0e],
      expected: 2,
    },
  ];
  for (const { name, writes, expected } of cases)
    it(name, () => {
      let resets = 0;
      const port = new ResetControl(newDeviceState(RESET_CONTROL_STATE), () => resets++);
      for (const value of writes) port.writePort(0, 1, value);
      assert.equal(resets, expected);
    });
});

it('port 0x92 switches A20 and resets', () => {
  const events: string[] = [];
  const port = new SystemControl(newDeviceState(SYSTEM_CONTROL_STATE), {
    reset: () => events.push('reset'),
    setA20: (enabled) => events.push(enabled ? 'a20' : 'no a20'),
  });
  port.reset();
  for (const value of [0x02, 0x00, 0x02, 0x03]) port.writePort(0, 1, value);
  assert.deepEqual(events, ['a20', 'no a20', 'a20', 'reset']);
  assert.equal(port.readPort(0, 1), 0x03);
});

it('debug ports', () => {
  const got: unknown[] = [];
  new DebugExit((value) => got.push(['exit', value])).writePort(0, 1, 0x10);
  const e9 = new E9Port((byte) => got.push(byte));
  e9.writePort(0, 2, 0x4241);
  assert.equal(e9.readPort(0, 1), 0xe9);
  assert.deepEqual(got, [['exit', 0x10], 0x41, 0x42]);
  const post = new PostPort(newDeviceState(POST_STATE));
  post.writePort(0, 1, 0x5a);
  assert.equal(post.readPort(0, 1), 0x5a);
  assert.equal(post.readPort(0, 4), 0xffff_ff5a);
});
