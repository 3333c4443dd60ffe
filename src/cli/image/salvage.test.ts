import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { createImage } from '#storage/formats/testing.ts';
import { nodeStorageHost } from '#storage/node/node-host.ts';
import { formatNamed, openImage } from '#storage/open.ts';
import { noise } from '#storage/testing.ts';
import { ring0Image } from './testing.ts';

const MIB = 1 << 20;
const dir = mkdtempSync(path.join(tmpdir(), 'ring0-salvage-'));
after(() => rmSync(dir, { recursive: true }));

describe('ring0 image convert --salvage', () => {
  it('goes on where a table cannot be read', async () => {
    const file = path.join(dir, 'disk.qcow2');
    const copy = path.join(dir, 'copy.raw');
    await createImage(await formatNamed('qcow2'), nodeStorageHost, file, 1024 * MIB);
    const image = await openImage(file, nodeStorageHost, { format: 'qcow2' });
    // The L2 table of the second lies between the two.
    await image.write(0, noise(4 * MIB, 1));
    await image.write(600 * MIB, noise(4 * MIB, 2));
    const { hostOffsetBytes: endBytes = 0 } = await image.extent(600 * MIB, 512);
    await image.close();
    const bytes = readFileSync(file);
    const server = createServer((request, response) => {
      const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
      if (Number(to) >= endBytes - 65536) return void response.writeHead(403).end();
      response.writeHead(206, { 'content-range': `bytes ${from}-${to}/${bytes.length}` });
      response.end(bytes.subarray(Number(from), Number(to) + 1));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    try {
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/disk`;
      const words = ['convert', '-f', 'qcow2', '-O', 'raw', url, copy];
      assert.equal((await ring0Image(...words)).status, 1);
      const { status, stderr } = await ring0Image(...words, '--salvage');
      assert.equal(status, 0, stderr);
      const lost = [...stderr.matchAll(/unreadable at (\d+): (\d+) bytes of zeros instead/g)];
      let gone = 512 * MIB;
      for (const [, at, bytes] of lost) if (Number(at) === gone) gone += Number(bytes);
      assert.equal(gone, 1024 * MIB, stderr);
    } finally {
      server.close();
    }
    const made = await openImage(copy, nodeStorageHost, { format: 'raw', readOnly: true });
    assert.equal(made.sizeBytes, 1024 * MIB);
    const part = new Uint8Array(2 * MIB);
    await made.read(0, part);
    assert.deepEqual(part, noise(2 * MIB, 1));
    await made.read(600 * MIB, part);
    assert.deepEqual(part, new Uint8Array(2 * MIB));
    await made.close();
  });
});
