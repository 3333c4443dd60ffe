import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { formatNamed } from '../open.ts';
import { createImage } from '../ops/create.ts';
import { turnOffCow } from './no-cow.ts';
import { nodeStorageHost } from './node-host.ts';
import { StagingHost } from './staging-host.ts';

const dir = mkdtempSync(path.join(tmpdir(), 'ring0-no-cow-'));
after(() => rmSync(dir, { recursive: true }));

/** A file system whose files have these flags, or none; with what it was asked for. */
function flagged(flags?: number) {
  const asked: string[] = [];
  return {
    asked,
    ioctl: (fd: number, request: number, argument: Uint8Array): number => {
      const view = new DataView(argument.buffer);
      asked.push(`${fd} ${request.toString(16)} ${view.getUint32(0, true).toString(16)}`);
      if (flags === undefined) return -1;
      if (request === 0x80086601) view.setUint32(0, flags, true);
      return 0;
    },
  };
}

describe('the mark against copy on write', () => {
  it('is added to what marks a file has', () => {
    const host = flagged(0x80000);
    turnOffCow(7, host);
    assert.deepEqual(host.asked, ['7 80086601 0', '7 40086602 880000']);
  });

  it('is left where a file system has no marks, or nobody can ask', () => {
    const host = flagged();
    turnOffCow(7, host);
    assert.equal(host.asked.length, 1);
    turnOffCow(7, null);
  });

  it('keeps nobody from making an image where there is none', async () => {
    const host = new StagingHost(nodeStorageHost, { flushes: true, noCow: true });
    const vmdk = await formatNamed('vmdk');
    const options = new Map([['subformat', 'monolithicFlat']]);
    await createImage(path.join(dir, 'd.vmdk'), host, vmdk, { sizeBytes: 1 << 20, options });
    await host.commit();
    assert.deepEqual(readdirSync(dir).sort(), ['d-flat.vmdk', 'd.vmdk']);
  });
});
