import { setTimeout as sleep } from 'node:timers/promises';
import { type FileOptions, type HostFile, ImageError } from '../image.ts';

const BLOCK_BYTES = 256 * 1024;
const MAX_CACHE_BLOCKS = 256;
/** The most that one request asks for, when it reads ahead. */
const MAX_REQUEST_BLOCKS = 16;
const TIMEOUT_MS = 30_000;
const ATTEMPTS = 3;
const RETRY_MS = 200;

interface Remote {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** What the server said of this version of the file. */
  readonly version: Readonly<Record<(typeof VERSION_HEADERS)[number], string | null>>;
  readonly sizeBytes: number;
}

const VERSION_HEADERS = ['etag', 'last-modified'] as const;
/** Of OpenSSL's reasons to refuse a certificate: those that another list of who is trusted mends. */
const NOT_TRUSTED = [
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
];

/** A file of an HTTP server, read in ranges (RFC 9110, 14). Kept in memory in part, and read ahead of who reads in order. */
export class HttpFile implements HostFile {
  /** Without name and password. */
  readonly path: string;
  readonly readOnly = true;
  readonly #remote: Remote;
  readonly #closed = new AbortController();
  /** In order of use, oldest first; what is still under way, too. */
  readonly #blocks = new Map<number, Promise<Uint8Array>>();
  #nextBlock = 0;
  #ahead = 1;

  private constructor(path: string, remote: Remote) {
    this.path = path;
    this.#remote = remote;
  }

  /** @throws {ImageError} `not-found`, `read-only`, `unsupported`, `io`. */
  static async open(path: string, options: FileOptions = {}): Promise<HttpFile> {
    const { url, shown, headers } = parseUrl(path);
    if ((options.access ?? 'read') !== 'read')
      throw new ImageError(
        'read-only',
        `${shown}: what a server has can only be read; make an image with it as backing file, and write to that`,
        { path: shown },
      );
    return new HttpFile(shown, await probe(url, shown, headers));
  }

  async read(offsetBytes: number, into: Uint8Array): Promise<number> {
    const { sizeBytes } = this.#remote;
    const length = Math.max(0, Math.min(into.length, sizeBytes - offsetBytes));
    into.fill(0, length);
    if (length === 0) return 0;
    const first = Math.floor(offsetBytes / BLOCK_BYTES);
    const last = Math.floor((offsetBytes + length - 1) / BLOCK_BYTES);
    this.#request(first, last);
    for (let block = first; block <= last; block++) {
      const bytes = await this.#block(block).catch((error) => {
        throw whenAsked(error, offsetBytes);
      });
      const start = block * BLOCK_BYTES - offsetBytes;
      const from = Math.max(0, -start);
      into.set(bytes.subarray(from, from + length - Math.max(0, start)), Math.max(0, start));
    }
    return length;
  }

  #block(block: number): Promise<Uint8Array> {
    const found = this.#blocks.get(block);
    if (found === undefined) this.#request(block, block);
    const bytes = found ?? this.#blocks.get(block) ?? Promise.resolve(new Uint8Array(0));
    this.#blocks.delete(block);
    this.#blocks.set(block, bytes);
    return bytes;
  }

  /** Asks for what is missing of the blocks, and for more when the reader goes on in order. */
  #request(first: number, last: number): void {
    const isSequential = first === this.#nextBlock || first === this.#nextBlock - 1;
    this.#ahead = isSequential ? Math.min(this.#ahead * 2, MAX_REQUEST_BLOCKS) : 1;
    this.#nextBlock = last + 1;
    const lastOfFile = Math.floor((this.#remote.sizeBytes - 1) / BLOCK_BYTES);
    // Half of what is ahead may be read before more is asked for.
    const isNear = !this.#blocks.has(Math.min(lastOfFile, last + (this.#ahead >>> 1)));
    const end = Math.min(lastOfFile, isNear ? last + this.#ahead - 1 : last);
    for (let block = first; block <= end; block++) {
      if (this.#blocks.has(block)) continue;
      let count = 1;
      while (block + count <= end && count < MAX_REQUEST_BLOCKS && !this.#blocks.has(block + count))
        count++;
      this.#fetchBlocks(block, count);
    }
  }

  #fetchBlocks(block: number, count: number): void {
    const start = block * BLOCK_BYTES;
    const end = Math.min(start + count * BLOCK_BYTES, this.#remote.sizeBytes);
    const fetched = this.#fetch(start, end);
    for (let index = 0; index < count; index++) {
      const part = fetched.then((bytes) =>
        bytes.subarray(index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES),
      );
      this.#blocks.set(block + index, part);
      // A failure is told to who waits for the block, and the next one asks again.
      part.catch(() => this.#blocks.delete(block + index));
    }
    for (const oldest of this.#blocks.keys()) {
      if (this.#blocks.size <= MAX_CACHE_BLOCKS) break;
      this.#blocks.delete(oldest);
    }
  }

  async #fetch(start: number, end: number): Promise<Uint8Array> {
    for (let attempt = 1; ; attempt++)
      try {
        return await this.#fetchOnce(start, end);
      } catch (error) {
        const isFinal = error instanceof ImageError || attempt >= ATTEMPTS;
        if (isFinal || this.#closed.signal.aborted) throw ioError(error, this.path, start);
        await sleep(RETRY_MS * attempt);
      }
  }

  async #fetchOnce(start: number, end: number): Promise<Uint8Array> {
    const { url, headers, version, sizeBytes } = this.#remote;
    const signal = AbortSignal.any([this.#closed.signal, AbortSignal.timeout(TIMEOUT_MS)]);
    const range = `bytes=${start}-${end - 1}`;
    const response = await fetch(url, { headers: { ...headers, Range: range }, signal });
    if (response.status >= 500) throw new Error(`the server says ${response.status}`);
    const given = response.headers.get('content-range');
    const wanted = `bytes ${start}-${end - 1}/`;
    const total = given?.startsWith(wanted) === true ? given.slice(wanted.length) : undefined;
    const isOther = (name: (typeof VERSION_HEADERS)[number]): boolean => {
      const now = response.headers.get(name);
      return now !== null && version[name] !== null && now !== version[name];
    };
    // Some servers give ranges whatever they are told to compare.
    const hasChanged =
      response.status === 200 ||
      (response.status === 206 && VERSION_HEADERS.some(isOther)) ||
      (total !== undefined && total !== '*' && Number(total) !== sizeBytes);
    if (response.status !== 206 || total === undefined || hasChanged) {
      await response.body?.cancel();
      const what = hasChanged
        ? 'was changed on the server since it was opened; open it again'
        : `the server says ${response.status} to a request for bytes ${start} to ${end - 1}`;
      throw new ImageError('io', `${this.path}: ${what}`, { path: this.path, offsetBytes: start });
    }
    return await bodyOf(response, end - start);
  }

  write(): Promise<void> {
    return Promise.reject(this.#readOnly());
  }

  truncate(): Promise<void> {
    return Promise.reject(this.#readOnly());
  }

  #readOnly(): ImageError {
    return new ImageError('read-only', `${this.path}: what a server has can only be read`, {
      path: this.path,
    });
  }

  flush(): Promise<void> {
    return Promise.resolve();
  }

  size(): Promise<number> {
    return Promise.resolve(this.#remote.sizeBytes);
  }

  /** None of this host's disks. */
  allocatedBytes(): Promise<number> {
    return Promise.resolve(0);
  }

  punch(): Promise<boolean> {
    return Promise.resolve(false);
  }

  reserve(): Promise<boolean> {
    return Promise.resolve(false);
  }

  extent(
    _offsetBytes: number,
    lengthBytes: number,
  ): Promise<{ data: boolean; lengthBytes: number }> {
    return Promise.resolve({ data: true, lengthBytes });
  }

  close(): Promise<void> {
    this.#closed.abort();
    return Promise.resolve();
  }
}

/** fetch refuses name and password within a URL: they go into a header. */
function parseUrl(path: string): { url: string; shown: string; headers: Record<string, string> } {
  let url: URL;
  try {
    url = new URL(path);
  } catch (error) {
    throw new ImageError('bad-option', `${path}: is no URL`, { path }, { cause: error });
  }
  const headers: Record<string, string> = { 'Accept-Encoding': 'identity' };
  if (url.username !== '' || url.password !== '') {
    const secret = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
    headers['Authorization'] = `Basic ${Buffer.from(secret).toString('base64')}`;
    url.username = '';
    url.password = '';
  }
  return { url: url.href, shown: url.href, headers };
}

/** Asks for the first byte: the answer tells the size, and whether the server has ranges at all. */
async function probe(url: string, shown: string, headers: Record<string, string>): Promise<Remote> {
  let response: Response;
  try {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    response = await fetch(url, { headers: { ...headers, Range: 'bytes=0-0' }, signal });
  } catch (error) {
    throw ioError(error, shown, 0);
  }
  await response.body?.cancel();
  const sizeBytes = sizeOf(response, shown);
  // What is not the same any more must not be mixed with what was read before.
  const version = {
    etag: response.headers.get('etag'),
    'last-modified': response.headers.get('last-modified'),
  };
  const isStrong = version.etag !== null && !version.etag.startsWith('W/');
  const validator = isStrong ? version.etag : version['last-modified'];
  const isSameOrigin = new URL(response.url).origin === new URL(url).origin;
  const { Authorization, ...open } = headers;
  return {
    url: response.url,
    headers: {
      ...open,
      ...(isSameOrigin && Authorization !== undefined ? { Authorization } : {}),
      ...(validator === null ? {} : { 'If-Range': validator }),
    },
    version,
    sizeBytes,
  };
}

function sizeOf(response: Response, path: string): number {
  const { status } = response;
  const range = response.headers.get('content-range');
  const total = Number(/\/(\d+)$/.exec(range ?? '')?.[1]);
  if (status === 206 && Number.isSafeInteger(total)) return total;
  // Of nothing there is no first byte.
  if (status === 416 && range === 'bytes */0') return 0;
  if (status === 404 || status === 410)
    throw new ImageError('not-found', `${path}: no such file: the server says ${status}`, { path });
  if (status === 200)
    throw new ImageError(
      'unsupported',
      `${path}: the server has no range requests; download the file, and use that`,
      { path },
    );
  throw new ImageError('io', `${path}: the server says ${status} ${response.statusText}`, { path });
}

/** Reads exactly `lengthBytes`; a server that sends more is not listened to. */
async function bodyOf(response: Response, lengthBytes: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(lengthBytes);
  let size = 0;
  for await (const chunk of response.body ?? []) {
    if (size + chunk.length > lengthBytes) throw new Error('the server sent more than asked for');
    bytes.set(chunk, size);
    size += chunk.length;
  }
  if (size < lengthBytes) throw new Error('the connection ended early');
  return bytes;
}

/** About what was asked for: all that lies in the bytes that the server was asked for has failed at one place. */
function whenAsked(error: unknown, offsetBytes: number): unknown {
  if (!(error instanceof ImageError)) return error;
  const { kind, message, at } = error;
  return new ImageError(kind, message, { ...at, offsetBytes }, { cause: error });
}

function ioError(error: unknown, path: string, offsetBytes: number): ImageError {
  if (error instanceof ImageError) return error;
  const { message, cause } = error as Error;
  const reason = cause instanceof Error && cause.message !== '' ? cause.message : message;
  const isTrusted = !(
    cause instanceof Error &&
    'code' in cause &&
    NOT_TRUSTED.includes(String(cause.code))
  );
  const why = isTrusted
    ? reason
    : `${reason}; if the server is to be trusted, name its certificate's file in NODE_EXTRA_CA_CERTS`;
  return new ImageError(
    'io',
    `${path}: at ${offsetBytes}: ${why}`,
    { path, offsetBytes },
    { cause: error },
  );
}
