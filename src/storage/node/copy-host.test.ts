import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { libc } from '#base/node/libc.ts';
import { copyHost } from './copy-host.ts';

const skip =
  (libc() === null || !existsSync('/sys/kernel/mm/transparent_hugepage')) &&
  'no large pages, or no @koromix/koffi-linux-x64';

describe('the memory of a copy', () => {
  it('takes large pages', { skip }, () => {
    const before = advised();
    const memory = copyHost.memory(4 << 20);
    assert.equal(memory.length, 4 << 20);
    assert.deepEqual(new Set(memory), new Set([0]));
    assert.equal(advised() - before, 4 << 20);
  });

  it('is any that there is, where those are too short', () => {
    assert.deepEqual(copyHost.memory(100), new Uint8Array(100));
  });
});

/** Bytes of this process for which large pages were asked (proc(5), VmFlags of smaps). */
function advised(): number {
  let bytes = 0;
  for (const mapping of readFileSync('/proc/self/smaps', 'utf8').split(/^(?=[\da-f]+-)/m)) {
    const [, kilobytes = '0'] = /^Size:\s+(\d+) kB$/m.exec(mapping) ?? [];
    if (/^VmFlags:.* hg\b/m.test(mapping)) bytes += Number(kilobytes) * 1024;
  }
  return bytes;
}
