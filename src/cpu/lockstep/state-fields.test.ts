import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as state from '#ir/state.ts';
import { COMPARED_STATE, GUEST_STATE } from './state-fields.ts';

describe("the guest's state", () => {
  const fields = Object.entries(state).filter(([name]) =>
    /^S_(STAT_|ARENA_|ROOM_|JUMP_|TLB_LOGGED$|BLOCK$|KILLS$|BATCHES$|BUDGET$)/.test(name),
  );
  for (const [name, at] of fields) {
    it(`has not ${name} in it, which is the engine's`, () => {
      for (const { from, to } of [...GUEST_STATE, ...COMPARED_STATE])
        assert.ok(Number(at) < from || Number(at) >= to, `${name} is in ${from}-${to}`);
    });
  }

  it('has the registers in it', () => {
    for (const at of [state.S_RAX, state.S_RIP, state.S_EFLAGS, state.S_XMM, state.S_CR0])
      assert.ok(COMPARED_STATE.some(({ from, to }) => at >= from && at < to));
  });
});
