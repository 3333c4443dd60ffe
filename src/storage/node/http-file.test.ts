import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { qed } from '../formats/qed/qed.ts';
import type { ImageError } from '../image.ts';
import { openImage } from '../open.ts';
import { noise } from '../testing.ts';
import { HttpFile } from './http-file.ts';
import { nodeStorageHost } from './node-host.ts';

const MIB = 1 << 20;
const content = noise(5 * MIB + 100, 1);

interface Behaviour {
  etag: string;
  failures: number;
  hasRanges: boolean;
  surplus: number;
  grown: number;
  modified: string | undefined;
  /** Gives ranges whatever it is told to compare. */
  isCareless: boolean;
  /** Of each answer but the first these many bytes at most. */
  mostBytes: number;
}

let base = '';
let behaviour: Behaviour;
const requests: string[] = [];

function answer(request: IncomingMessage, response: ServerResponse): void {
  const { range = '', 'if-range': ifRange, authorization } = request.headers;
  requests.push(range);
  if (request.url === '/moved') return void response.writeHead(302, { location: '/disk' }).end();
  if (request.url === '/loop') return void response.writeHead(302, { location: '/loop' }).end();
  if (request.url === '/none') return void response.writeHead(404).end();
  if (request.url === '/secret' && authorization !== `Basic ${btoa('me:pass word')}`)
    return void response.writeHead(401).end();
  const body = request.url === '/empty' ? new Uint8Array(0) : content;
  if (requests.length > 1 && behaviour.failures-- > 0) return void request.socket.destroy();
  const { etag, modified, isCareless } = behaviour;
  const isStale = ifRange !== undefined && ifRange !== (etag || modified);
  if (!behaviour.hasRanges || (isStale && !isCareless))
    return void response.writeHead(200).end(body);
  const [, from = '', to = ''] = /^bytes=(\d+)-(\d+)$/.exec(range) ?? [];
  if (Number(from) >= body.length)
    return void response.writeHead(416, { 'content-range': `bytes */${body.length}` }).end();
  const most = requests.length > 1 ? behaviour.mostBytes : body.length;
  const part = body.subarray(Number(from), Math.min(Number(to) + 1, Number(from) + most));
  response.writeHead(206, {
    ...(etag === '' ? {} : { etag }),
    ...(modified === undefined ? {} : { 'last-modified': modified }),
    'content-range': `bytes ${from}-${Number(from) + part.length - 1}/${body.length + behaviour.grown}`,
  });
  response.end(Buffer.concat([part, Buffer.alloc(requests.length > 1 ? behaviour.surplus : 0)]));
}

const server = createServer(answer);
before(
  () =>
    new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', () => {
        const address = server.address();
        if (address !== null && typeof address === 'object')
          base = `http://127.0.0.1:${address.port}`;
        resolve();
      });
    }),
);
after(() => {
  server.close();
  server.closeAllConnections();
});
beforeEach(() => {
  behaviour = {
    ...{ etag: '"1"', failures: 0, hasRanges: true, surplus: 0, grown: 0 },
    ...{ modified: undefined, isCareless: false, mostBytes: content.length },
  };
  requests.length = 0;
});

async function bytesAt(file: HttpFile, offset: number, length: number): Promise<Uint8Array> {
  const into = new Uint8Array(length).fill(7);
  await file.read(offset, into);
  return into;
}

describe('a file of an HTTP server', () => {
  const places = [
    { name: 'the start', offset: 0, length: 512 },
    { name: 'across blocks', offset: 256 * 1024 - 100, length: 200 },
    { name: 'several blocks', offset: MIB + 5, length: 3 * MIB },
    { name: 'the end', offset: content.length - 50, length: 50 },
  ];
  for (const { name, offset, length } of places)
    it(`is read: ${name}`, async () => {
      const file = await HttpFile.open(`${base}/disk`);
      assert.equal(await file.size(), content.length);
      assert.deepEqual(await bytesAt(file, offset, length), content.slice(offset, offset + length));
      await file.close();
    });

  it('reads as zeros past its end', async () => {
    const file = await HttpFile.open(`${base}/disk`);
    const into = new Uint8Array(100).fill(7);
    assert.equal(await file.read(content.length - 10, into), 10);
    assert.ok(into.subarray(10).every((byte) => byte === 0));
    assert.equal(await file.read(content.length + 10, into), 0);
    await file.close();
  });

  it('is asked for little more than once for what is read in order', async () => {
    const file = await HttpFile.open(`${base}/disk`);
    for (let at = 0; at < content.length; at += 4096) await bytesAt(file, at, 4096);
    for (let at = 0; at < content.length; at += 4096) await bytesAt(file, at, 4096);
    assert.ok(requests.length < 12, `${requests.length} requests`);
    await file.close();
  });

  it('may be empty, elsewhere, or behind a password that nobody is shown', async () => {
    assert.equal(await (await HttpFile.open(`${base}/empty`)).size(), 0);
    const moved = await HttpFile.open(`${base}/moved`);
    assert.deepEqual(await bytesAt(moved, 1000, 10), content.slice(1000, 1010));
    const secret = await HttpFile.open(`${base.replace('//', '//me:pass%20word@')}/secret`);
    assert.equal(secret.path, `${base}/secret`);
    assert.deepEqual(await bytesAt(secret, 1000, 10), content.slice(1000, 1010));
  });

  it('is asked again when a connection fails', async () => {
    behaviour.failures = 2;
    const file = await HttpFile.open(`${base}/disk`);
    assert.deepEqual(await bytesAt(file, 0, 10), content.slice(0, 10));
    behaviour.failures = 100;
    await assert.rejects(
      bytesAt(file, 4 * MIB, 10),
      (error: ImageError) => error.kind === 'io' && error.message.includes('/disk: at 4194304'),
    );
  });

  it('is not mixed with another that took its place', async () => {
    const file = await HttpFile.open(`${base}/disk`);
    behaviour.etag = '"2"';
    await assert.rejects(bytesAt(file, 0, 10), /was changed on the server/);
  });

  const TAGS = [
    { name: 'a date', before: { etag: '', modified: 'Mon' }, after: { modified: 'Tue' } },
    {
      name: 'a weak tag and a date',
      before: { etag: 'W/"1"', modified: 'Mon', isCareless: true },
      after: { modified: 'Tue' },
    },
    {
      name: 'a tag, from a server that compares none',
      before: { isCareless: true },
      after: { etag: '"2"' },
    },
  ];
  for (const { name, before: first, after: then } of TAGS)
    it(`is not mixed with another that took its place: ${name}`, async () => {
      Object.assign(behaviour, first);
      const file = await HttpFile.open(`${base}/disk`);
      assert.deepEqual(await bytesAt(file, 0, 10), content.slice(0, 10));
      Object.assign(behaviour, then);
      await assert.rejects(bytesAt(file, 2 * MIB, 10), /was changed on the server/);
    });

  it('is refused when the server gives fewer bytes than it was asked for', async () => {
    behaviour.mostBytes = 100;
    const file = await HttpFile.open(`${base}/disk`);
    await assert.rejects(
      bytesAt(file, MIB + 300, 200),
      ({ kind, message, at }: ImageError) =>
        kind === 'io' && /says 206 to a request/.test(message) && at.offsetBytes === MIB + 300,
    );
  });

  it('is refused where the server leads in a circle', async () => {
    await assert.rejects(
      HttpFile.open(`${base}/loop`),
      (error: ImageError) => error.kind === 'io' && /loop: at 0: redirect/.test(error.message),
    );
    assert.ok(requests.length < 30, `${requests.length} requests`);
  });

  it('is not mixed with a longer one, from a server that gives no tags', async () => {
    const file = await HttpFile.open(`${base}/disk`);
    behaviour.grown = 4096;
    await assert.rejects(bytesAt(file, 0, 10), /was changed on the server/);
  });

  it('is not read beyond what was asked for', async () => {
    behaviour.surplus = 10;
    const file = await HttpFile.open(`${base}/disk`);
    await assert.rejects(bytesAt(file, 0, 10), /sent more than asked for|terminated|parse/i);
  });

  it('needs ranges, and is not written to', async () => {
    behaviour.hasRanges = false;
    await assert.rejects(HttpFile.open(`${base}/disk`), /no range requests; download/);
    await assert.rejects(HttpFile.open(`${base}/none`), (e: ImageError) => e.kind === 'not-found');
    await assert.rejects(
      HttpFile.open(`${base}/disk`, { access: 'write' }),
      (error: ImageError) => error.kind === 'read-only' && /backing file/.test(error.message),
    );
    await assert.rejects(HttpFile.open('http://127.0.0.1:1/x'), (e: ImageError) => e.kind === 'io');
  });
});

it('a file of an HTTP server is the base of an image here', async () => {
  const dir = mkdtempSync(path.join(tmpdir(), 'ring0-http-'));
  after(() => rmSync(dir, { recursive: true }));
  const top = path.join(dir, 'top.qed');
  const out = await nodeStorageHost.openFile(top, { access: 'create' });
  const options = new Map([
    ['backing_file', `${base}/disk`],
    ['backing_fmt', 'raw'],
  ]);
  await qed.create?.(out, { sizeBytes: 6 * MIB, options }, nodeStorageHost);
  await out.close();
  const image = await openImage(top, nodeStorageHost, { format: 'qed' });
  await image.write(MIB, noise(512, 2));
  const expected = new Uint8Array(6 * MIB);
  expected.set(content);
  expected.set(noise(512, 2), MIB);
  const into = new Uint8Array(6 * MIB);
  await image.read(0, into);
  assert.deepEqual(into, expected);
  await image.close();
});
