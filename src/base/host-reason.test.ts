import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { hostReason } from './host-reason.ts';

describe('hostReason', () => {
  const cases = [
    { code: 'ENOSPC', reason: 'the disk is full; make room or name another place' },
    { code: 'EDQUOT', reason: 'the disk is full; make room or name another place' },
    { code: 'EROFS', reason: 'no permission to write there; name another place' },
    { code: 'EWEIRD', reason: 'what the system said' },
  ];
  for (const { code, reason } of cases)
    it(code, () => {
      assert.equal(hostReason(Object.assign(new Error('what the system said'), { code })), reason);
    });
});
