import assert from 'node:assert/strict';
import { it } from 'node:test';
import { ImageError } from '../image.ts';
import { MemoryFile } from '../testing.ts';
import { Tail } from './tail.ts';

it('room that the host fails to take back is handed out again, as room that holds something', async () => {
  class Unwilling extends MemoryFile {
    override punch(): Promise<boolean> {
      return Promise.reject(new ImageError('io', 'a punch fails'));
    }
  }
  const tail = new Tail(new Unwilling(), 8192, 8192);
  tail.give(4096, 4096);
  await tail.release(tail.takePending());
  const { hostOffsetBytes, zeroed } = await tail.take(4096);
  assert.deepEqual([hostOffsetBytes, zeroed], [4096, false]);
});
