// Files of HTTPS servers: who is trusted, and what is said when a server is not.
import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:https';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { noise } from '../testing.ts';

const BYTES = 3 << 20;
const dir = mkdtempSync(path.join(tmpdir(), 'ring0-https-'));
after(() => rmSync(dir, { recursive: true }));
const at = (name: string): string => path.join(dir, name);
const command = path.resolve(import.meta.dirname, '../../../bin/ring0.mjs');
const content = noise(BYTES, 1);
const hasOpenssl = spawnSync('openssl', ['version']).status === 0;

/** A server whose certificate is its own word for `names`. */
async function serverFor(name: string, names: string): Promise<{ server: Server; port: number }> {
  const files = ['-keyout', at(`${name}.key`), '-out', at(`${name}.crt`)];
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
  const subject = ['-subj', '/CN=ring0', '-addext', `subjectAltName=${names}`];
  const words = ['req', '-x509', ...curve, '-nodes', '-days', '2', ...subject, ...files];
  const { status, stderr } = spawnSync('openssl', words, { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  const keys = { key: readFileSync(at(`${name}.key`)), cert: readFileSync(at(`${name}.crt`)) };
  const server = createServer(keys, ({ headers }, response) => {
    const [, from = '', to = ''] = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? '') ?? [];
    const part = content.subarray(Number(from), Number(to) + 1);
    const range = `bytes ${from}-${Number(from) + part.length - 1}/${BYTES}`;
    response.writeHead(206, { 'content-range': range, etag: '"1"' }).end(part);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  return { server, port: address.port };
}

/** Runs `ring0 image`, while the server in this process answers. */
function ring0(
  env: NodeJS.ProcessEnv,
  ...words: string[]
): Promise<{ status: number; stderr: string }> {
  return new Promise((resolve) => {
    const options = { env: { ...process.env, ...env } };
    execFile(process.execPath, [command, 'image', ...words], options, (error, _stdout, stderr) =>
      resolve({ status: error === null ? 0 : Number(error.code), stderr }),
    );
  });
}

describe('a file of an HTTPS server', { skip: !hasOpenssl && 'there is no openssl' }, () => {
  it('is read when its certificate is trusted, and only then', async () => {
    const { server, port } = await serverFor('known', 'IP:127.0.0.1');
    const url = `https://127.0.0.1:${port}/disk.raw`;
    const copy = ['convert', '-f', 'raw', '-O', 'raw', url, at('copy')];
    const refused = await ring0({ NODE_EXTRA_CA_CERTS: '' }, ...copy);
    assert.equal(refused.status, 1);
    assert.match(refused.stderr, /disk\.raw: at 0: self-signed certificate; .*NODE_EXTRA_CA_CERTS/);
    const taken = await ring0({ NODE_EXTRA_CA_CERTS: at('known.crt') }, ...copy);
    assert.equal(taken.status, 0, taken.stderr);
    assert.ok(readFileSync(at('copy')).equals(content));
    server.close();
  });

  it('is not read from a server whose certificate is for another name', async () => {
    const { server, port } = await serverFor('other', 'DNS:example.com');
    const env = { NODE_EXTRA_CA_CERTS: at('other.crt') };
    const { status, stderr } = await ring0(env, 'info', '-f', 'raw', `https://127.0.0.1:${port}/d`);
    assert.equal(status, 1);
    assert.match(stderr, /\/d: at 0: .*127\.0\.0\.1.*cert/);
    server.close();
  });
});
