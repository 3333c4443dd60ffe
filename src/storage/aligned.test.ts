import assert from 'node:assert/strict';
import { describe, it, mock } from 'node:test';
import { quickBytes } from './aligned.ts';

describe('memory for copies', () => {
  it('is there where addresses for aligned memory are not', () => {
    const memory = mock.method(WebAssembly, 'Memory', function noAddresses() {
      throw new RangeError('could not allocate memory');
    });
    assert.equal(quickBytes(1000).length, 1000);
    assert.equal(memory.mock.callCount(), 1);
    memory.mock.restore();
    assert.equal(quickBytes(1000).length, 1000);
  });
});
