import assert from 'node:assert/strict';
import { type ChildProcessByStdio, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { after, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

// A whole Debian from its qcow2, which is killed while it writes. Making one takes a minute and a network, so RING0_DEBIAN
// names one of `ring0 guest build debian`; .ci/debian makes it and runs this.

const RING0 = fileURLToPath(new URL('../../bin/ring0.mjs', import.meta.url));
const DISK = process.env['RING0_DEBIAN'];
const PATIENCE_S = 900;
/** What check's exit status says of an image with leaks, which cost room and nothing else. */
const LEAKS = 3;
/** Of e2fsck: what the journal held has been done. */
const CORRECTED = 1;

class Guest {
  readonly #process: ChildProcessByStdio<Writable, Readable, null>;
  #text = '';
  #more: () => void = () => {};

  constructor(disk: string) {
    const args = [RING0, 'run', disk, '-m', '512M', '-t', String(PATIENCE_S)];
    this.#process = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#process.stdout.on('data', (chunk: Buffer) => {
      this.#text += chunk.toString('latin1');
      this.#more();
    });
    this.#process.on('exit', () => this.#more());
  }

  type(line: string): void {
    this.#process.stdin.write(`${line}\n`);
  }

  /** Waits until the console has shown what is wanted; what came before that is forgotten. */
  async see(wanted: RegExp): Promise<string> {
    for (;;) {
      const found = wanted.exec(this.#text);
      if (found !== null) {
        this.#text = this.#text.slice(found.index + found[0].length);
        return found[1] ?? '';
      }
      const { exitCode, signalCode } = this.#process;
      if (exitCode !== null || signalCode !== null)
        throw new Error(`no ${wanted} before the end (${exitCode}): ${this.#text.slice(-2000)}`);
      await new Promise<void>((resolve) => {
        this.#more = resolve;
      });
    }
  }

  async logIn(): Promise<void> {
    await this.see(/debian login: /);
    this.type('root');
    await this.see(/root@debian:~# /);
  }

  /** What a command prints. */
  shell(command: string): Promise<string> {
    // The line that is typed comes back too: it has no answer in the brackets.
    this.type(`R=$(${command}); echo "[[$R]]"`);
    return this.see(/\[\[([^$]*?)\]\]/);
  }

  async end(signal?: 'SIGKILL'): Promise<number | null> {
    const { exitCode, signalCode } = this.#process;
    if (exitCode !== null || signalCode !== null) return exitCode;
    if (signal !== undefined) this.#process.kill(signal);
    const [status] = await once(this.#process, 'exit');
    return status;
  }
}

function run(tool: string, ...args: string[]): number {
  const { status, stdout, stderr } = spawnSync(tool, args, { encoding: 'utf8' });
  if (status !== 0)
    process.stderr.write(`${tool} ${args.join(' ')}: ${status}\n${stdout}${stderr}`);
  return status ?? -1;
}

const image = (...args: string[]) => run(process.execPath, RING0, 'image', ...args);

describe('Debian', { skip: DISK === undefined && 'RING0_DEBIAN names no disk' }, () => {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'ring0-debian-'));
  after(() => rmSync(dir, { recursive: true }));
  const disk = path.join(dir, 'disk.qcow2');
  const files = path.join(dir, 'files.raw');
  /** The disk's file system is put in order by its journal at most, and is whole then. */
  const checkFiles = (most: number): void => {
    rmSync(files, { force: true });
    // The partition begins at 1 MiB.
    const dd = ['dd', '-f', 'qcow2', '-O', 'raw', 'bs=1M', 'skip=1', `if=${disk}`, `of=${files}`];
    assert.equal(image(...dd), 0);
    const status = run('e2fsck', '-p', files);
    assert.ok(status <= most, `e2fsck: ${status}`);
    assert.equal(run('e2fsck', '-fn', files), 0);
  };

  it('boots to its login, and loses nothing that is on the disk when it is killed', async () => {
    copyFileSync(DISK ?? '', disk);
    const first = new Guest(disk);
    let data = '';
    let packages = '';
    try {
      await first.logIn();
      assert.equal(await first.shell('systemctl --failed --no-legend | wc -l'), '0');
      assert.equal(await first.shell('apt-mark hold bash >/dev/null; apt-mark showhold'), 'bash');
      packages = await first.shell('sha256sum </var/lib/dpkg/status');
      data = await first.shell('head -c 5000000 /dev/urandom >data; sync; sha256sum <data');
      assert.match(data, /^[0-9a-f]{64}/);
      first.type('while :; do cp -r /usr/share/doc more; rm -r more; echo "a"round; done');
      await first.see(/around/);
      await sleep(500);
    } finally {
      await first.end('SIGKILL');
    }
    assert.ok([0, LEAKS].includes(image('check', disk)));
    checkFiles(CORRECTED);

    const second = new Guest(disk);
    try {
      await second.logIn();
      await second.shell('echo 3 >/proc/sys/vm/drop_caches');
      assert.equal(await second.shell('sha256sum <data'), data);
      assert.equal(await second.shell('sha256sum </var/lib/dpkg/status'), packages);
      assert.equal(await second.shell('apt-mark showhold'), 'bash');
      assert.equal(await second.shell('apt-get check >/dev/null 2>&1; echo $?'), '0');
      assert.equal(await second.shell('dpkg --audit | wc -l'), '0');
      second.type('poweroff');
      assert.equal(await second.end(), 0);
    } finally {
      await second.end('SIGKILL');
    }
    checkFiles(0);
  });
});
