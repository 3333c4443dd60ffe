import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { changeRanges, runTransfer, tryTransfer } from './disk-transfer.ts';
import { TestDisk, TestMemory } from './testing.ts';
import { Transfer } from './transfer.ts';

const DISK_BYTES = 8192;

function rig() {
  const memory = new TestMemory(4096);
  const disk = new TestDisk(DISK_BYTES);
  const data = Transfer.of(memory, [{ paddr: 512, lengthBytes: 1024 }]);
  assert.ok(data);
  return { memory, disk, data };
}

describe('a transfer between a disk and memory', () => {
  const cases = [
    { type: 'read', isDurable: false, atOnce: ['prompt read 0+1024'], late: ['read 0+1024'] },
    { type: 'write', isDurable: false, atOnce: ['prompt write 0+1024'], late: ['write 0+1024'] },
    { type: 'write', isDurable: true, atOnce: [], late: ['write 0+1024', 'flush'] },
  ] as const;
  for (const { type, isDurable, atOnce, late } of cases)
    it(`${type}, ${isDurable ? 'durable' : 'cached'}: at once ${atOnce.length > 0}`, async () => {
      const { disk, data, memory } = rig();
      const transfer = { type, offsetBytes: 0, data, isDurable };
      assert.equal(tryTransfer(disk, transfer), false);
      disk.isPrompt = true;
      assert.equal(tryTransfer(disk, transfer), atOnce.length > 0);
      assert.deepEqual(disk.log.splice(0), atOnce);
      assert.equal(await runTransfer(disk, transfer), 'ok');
      assert.deepEqual(disk.log, late);
      assert.equal(memory.written.length, type === 'read' ? 2 : 0);
    });

  it('does not write to a disk that is only read', async () => {
    const { disk, data } = rig();
    disk.readOnly = true;
    disk.isPrompt = true;
    const transfer = { type: 'write', offsetBytes: 0, data, isDurable: false } as const;
    assert.equal(tryTransfer(disk, transfer), false);
    assert.equal(await runTransfer(disk, transfer), 'read-only');
    assert.deepEqual(disk.log, []);
  });

  it('changes no range of a disk that has become smaller meanwhile', async () => {
    const { disk } = rig();
    const ranges = [0, 4096, 0].map((offsetBytes) => ({ offsetBytes, lengthBytes: 512 }));
    const changed: number[] = [];
    const status = await changeRanges(disk, ranges, ({ offsetBytes }) => {
      changed.push(offsetBytes);
      disk.resize(4096);
      return Promise.resolve('ok');
    });
    assert.equal(status, 'io-error');
    assert.deepEqual(changed, [0]);
  });
});
