import assert from 'node:assert/strict';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { aptError, parsePackage } from './apt.ts';
import {
  cacheDir,
  type DefaultGuest,
  ensureDefaultGuest,
  fetchDefaultGuest,
  findDefaultGuest,
} from './default-guest.ts';

const root = mkdtempSync(path.join(os.tmpdir(), 'ring0-guest-'));
after(() => rmSync(root, { recursive: true }));

// Tools of a Debian system that know two packages, made to fail by variables. They log their calls.
const TOOLS = {
  'apt-cache': `
[ "$1" = --version ] && exit 0
[ -n "$FAKE_NO_LISTS" ] && [ ! -e "$FAKE_DIR/updated" ] && exit 100
for name; do :; done
case $name in
  linux-image-cloud-amd64) printf 'Package: %s\\nVersion: 6.1.9-1\\nDepends: linux-image-6.1.0-9-cloud-amd64 (= 6.1.9-1)\\n' $name ;;
  linux-image-6.1.0-9-cloud-amd64) printf 'Package: %s\\nVersion: 6.1.9-1\\nSize: 5000000\\n' $name ;;
  busybox-static) printf 'Package: %s\\nVersion: 1:1.35.0-4\\nSize: 900000\\n\\nPackage: %s\\nVersion: 1:1.0\\n' $name $name ;;
esac`,
  'apt-get': `
for last; do :; done
case $last in
  --version) exit 0 ;;
  update) echo update >>"$FAKE_DIR/log"; [ -n "$FAKE_UPDATE_ERROR" ] && { echo "$FAKE_UPDATE_ERROR" >&2; exit 100; }; : >"$FAKE_DIR/updated" ;;
  *) echo "download $last" >>"$FAKE_DIR/log"
     [ -n "$FAKE_STALE" ] && [ ! -e "$FAKE_DIR/updated" ] && { echo 'E: Failed to fetch http://x/y.deb  404  Not Found' >&2; exit 100; }
     [ -n "$FAKE_DOWNLOAD_ERROR" ] && { echo "$FAKE_DOWNLOAD_ERROR" >&2; exit 100; }
     [ -n "$FAKE_SLOW" ] && exec sleep 300
     echo deb >"\${last%%=*}_amd64.deb" ;;
esac`,
  'dpkg-deb': `
[ "$1" = --version ] && exit 0
[ -n "$FAKE_UNPACK_ERROR" ] && { echo "$FAKE_UNPACK_ERROR" >&2; exit 2; }
case $2 in
  *linux-image*) mkdir -p "$3/boot"; echo kernel >"$3/boot/vmlinuz-6.1.0-9-cloud-amd64"; echo map >"$3/boot/System.map-6.1.0-9-cloud-amd64" ;;
  *) mkdir -p "$3/bin"; echo busybox >"$3/bin/busybox" ;;
esac`,
};

let count = 0;

/** A host with a cache and tools of its own. */
function host(
  settings: Record<string, string> = {},
  tools: readonly string[] = Object.keys(TOOLS),
) {
  const dir = path.join(root, String(count++));
  const bin = path.join(dir, 'bin');
  mkdirSync(bin, { recursive: true });
  for (const [name, script] of Object.entries(TOOLS)) {
    if (!tools.includes(name)) continue;
    writeFileSync(path.join(bin, name), `#!/bin/sh\nPATH=/usr/bin:/bin${script}\n`);
    chmodSync(path.join(bin, name), 0o755);
  }
  const lines: string[] = [];
  return {
    env: {
      PATH: bin,
      RING0_CACHE: path.join(dir, 'cache'),
      FAKE_DIR: dir,
      ...settings,
    } as NodeJS.ProcessEnv,
    progress: (line: string, live: boolean): void => void (live || lines.push(line)),
    lines,
    log: (): string =>
      existsSync(path.join(dir, 'log')) ? readFileSync(path.join(dir, 'log'), 'utf8') : '',
    guestDir: path.join(dir, 'cache', 'default-guest'),
  };
}

const BOTH =
  'download linux-image-6.1.0-9-cloud-amd64=6.1.9-1\ndownload busybox-static=1:1.35.0-4\n';

describe('the default guest', () => {
  it('is fetched once, then taken from the cache without any tool', async () => {
    const machine = host();
    assert.equal(await findDefaultGuest(machine.env), undefined);
    const guest = await ensureDefaultGuest(machine);
    assert.equal(machine.log(), BOTH);
    assert.equal(readFileSync(guest.kernel, 'utf8'), 'kernel\n');
    assert.equal(readFileSync(guest.initrd, 'latin1').slice(0, 6), '070701');
    assert.equal(guest.busyboxVersion, '1:1.35.0-4');
    assert.match(
      machine.lines.join('\n'),
      /fetching linux-image-6\.1\.0-9-cloud-amd64 6\.1\.9-1 \(5\.0 MB\)/,
    );
    const offline = { ...machine, env: { ...machine.env, PATH: '/nonexistent' } };
    assert.deepEqual(await ensureDefaultGuest(offline), guest);
  });

  it('fetches package lists when there are none', async () => {
    const machine = host({ FAKE_NO_LISTS: '1' });
    await ensureDefaultGuest(machine);
    assert.equal(machine.log(), `update\n${BOTH}`);
  });

  it('fetches package lists when the servers have moved on', async () => {
    const machine = host({ FAKE_STALE: '1' });
    await ensureDefaultGuest(machine);
    assert.match(machine.log(), /^download .*\nupdate\ndownload .*\ndownload .*\n$/);
  });

  it('asks for the newest when told to, and fetches only what it lacks', async () => {
    const machine = host();
    await ensureDefaultGuest(machine);
    await fetchDefaultGuest(machine, { newest: true });
    assert.equal(machine.log(), `${BOTH}update\n`);
  });

  it('is fetched anew when its packages were removed by hand', async () => {
    const machine = host();
    await ensureDefaultGuest(machine);
    rmSync(path.join(machine.guestDir, 'packages'), { recursive: true });
    await ensureDefaultGuest(machine);
    assert.equal(machine.log(), BOTH + BOTH);
  });

  it('is fetched anew by a run when its kernel is cut off', async () => {
    const machine = host();
    const { kernel } = await ensureDefaultGuest(machine);
    writeFileSync(kernel, 'ker');
    assert.equal(await findDefaultGuest(machine.env), undefined);
    await ensureDefaultGuest(machine);
    assert.equal(readFileSync(kernel, 'utf8'), 'kernel\n');
    assert.equal(machine.log(), `${BOTH}${BOTH.split('\n')[0]}\n`);
  });

  const damages: { name: string; damage: (guest: DefaultGuest) => void; fetched: RegExp }[] = [
    {
      name: 'another byte in its kernel',
      damage: ({ kernel }) => writeFileSync(kernel, 'kermel\n'),
      fetched: /^download linux-image.*\n$/,
    },
    {
      name: 'a record that is cut off',
      damage: ({ kernelPackageDir }) =>
        writeFileSync(path.join(kernelPackageDir, 'ring0-files.json'), '[{'),
      fetched: /^download linux-image.*\n$/,
    },
    {
      name: 'no record, as one of an older version',
      damage: ({ kernelPackageDir }) => rmSync(path.join(kernelPackageDir, 'ring0-files.json')),
      fetched: /^download linux-image.*\n$/,
    },
    {
      name: 'an initrd that is empty',
      damage: ({ initrd }) => writeFileSync(initrd, ''),
      fetched: /^$/,
    },
  ];
  for (const { name, damage, fetched } of damages)
    it(`is made anew by a fetch with ${name}`, async () => {
      const machine = host();
      const guest = await ensureDefaultGuest(machine);
      const before = [guest.kernel, guest.initrd].map((file) => readFileSync(file));
      damage(guest);
      await fetchDefaultGuest(machine, { newest: true });
      assert.match(machine.log().slice(`${BOTH}update\n`.length), fetched);
      assert.deepEqual(
        [guest.kernel, guest.initrd].map((file) => readFileSync(file)),
        before,
      );
      assert.deepEqual(readdirOf(path.join(machine.guestDir, 'packages')).length, 2);
    });

  it('makes an initrd anew that is not as it was, without any tool', async () => {
    const machine = host();
    const { initrd } = await ensureDefaultGuest(machine);
    const before = readFileSync(initrd);
    writeFileSync(initrd, before.subarray(0, 100));
    await findDefaultGuest({ ...machine.env, PATH: '/nonexistent' });
    assert.deepEqual(readFileSync(initrd), before);
  });

  it('survives two fetches at a time', async () => {
    const machine = host();
    const guests = await Promise.all([
      ensureDefaultGuest(machine),
      ensureDefaultGuest(machine),
      ensureDefaultGuest(machine),
    ]);
    for (const guest of guests) assert.equal(readFileSync(guest.kernel, 'utf8'), 'kernel\n');
  });

  it('leaves nothing half done when it is interrupted', { timeout: 300_000 }, async () => {
    const machine = host({ FAKE_SLOW: '1' });
    const controller = new AbortController();
    const reason = new Error('interrupted');
    const ended = assert.rejects(
      ensureDefaultGuest({ ...machine, signal: controller.signal }),
      reason,
    );
    while (machine.log() === '') await setTimeout(1);
    controller.abort(reason);
    await ended;
    assert.deepEqual(readdirOf(path.join(machine.guestDir, 'packages')), []);
  });
});

describe('what is in the way is said in one line, with what to do', () => {
  const instead = /pass your own guest with --kernel and --initrd$/;
  const cases: {
    name: string;
    settings?: Record<string, string>;
    tools?: string[];
    message: RegExp[];
  }[] = [
    { name: 'no apt', tools: [], message: [/there is no apt-get here/, instead] },
    {
      name: 'no dpkg-deb',
      tools: ['apt-get', 'apt-cache'],
      message: [/there is no dpkg-deb here/, instead],
    },
    {
      name: 'no network while downloading',
      settings: {
        FAKE_DOWNLOAD_ERROR: "E: Failed to fetch http://d/x.deb  Temporary failure resolving 'd'",
      },
      message: [
        /cannot reach the package servers \(Failed to fetch .* resolving 'd'\); check the network/,
        instead,
      ],
    },
    {
      name: 'no network and no lists',
      settings: {
        FAKE_NO_LISTS: '1',
        FAKE_UPDATE_ERROR:
          "Err:1 http://d bookworm InRelease\nE: Failed to fetch http://d Could not resolve 'd'",
      },
      message: [/cannot reach the package servers/, instead],
    },
    {
      name: 'a disk that is full while downloading',
      settings: { FAKE_DOWNLOAD_ERROR: "E: You don't have enough free space in /x/." },
      message: [/no space left for .*; free 250 MB, or set RING0_CACHE/],
    },
    {
      name: 'a disk that is full while unpacking',
      settings: { FAKE_UNPACK_ERROR: 'tar: ./boot/vmlinuz: Cannot write: No space left on device' },
      message: [/no space left for .*RING0_CACHE/],
    },
    {
      name: 'a package that is damaged',
      settings: { FAKE_UNPACK_ERROR: "dpkg-deb: error: 'x.deb' is not a Debian format archive" },
      message: [
        /dpkg-deb -x .* failed \(dpkg-deb: error: 'x\.deb' is not a Debian format archive\)/,
        instead,
      ],
    },
  ];
  for (const { name, settings, tools, message } of cases) {
    it(name, async () => {
      const machine = host(settings, tools);
      await assert.rejects(ensureDefaultGuest(machine), (error: Error) => {
        assert.equal(error.name, 'RequestError');
        assert.doesNotMatch(error.message, /\n/);
        for (const part of message) assert.match(error.message, part);
        return true;
      });
      assert.equal(await findDefaultGuest(machine.env), undefined);
    });
  }

  it('sources without the package', async () => {
    const machine = host({ FAKE_NO_LISTS: '1' });
    // An update that succeeds and brings nothing, as on Debian's derivatives.
    machine.env['FAKE_DIR'] = path.join(machine.guestDir, 'nowhere');
    writeFileSync(path.join(machine.env['PATH'] ?? '', 'apt-get'), '#!/bin/sh\nexit 0\n');
    await assert.rejects(ensureDefaultGuest(machine), {
      message: /package sources do not have linux-image-cloud-amd64 .*or pass your own guest/,
    });
  });

  it('a cache that is not a folder', async () => {
    const machine = host();
    writeFileSync(machine.env['RING0_CACHE'] ?? '', '');
    await assert.rejects(ensureDefaultGuest(machine), {
      message: /cannot write to .*; set RING0_CACHE/,
    });
  });

  it('a cache where no folder can be made', async () => {
    const machine = host();
    machine.env['RING0_CACHE'] = '/proc/none';
    await assert.rejects(ensureDefaultGuest(machine), {
      message: /cannot write to .*; set RING0_CACHE/,
    });
  });
});

describe('cacheDir', () => {
  const cases = [
    { env: { RING0_CACHE: '/c', XDG_CACHE_HOME: '/x', HOME: '/h' }, expected: '/c' },
    { env: { RING0_CACHE: '', XDG_CACHE_HOME: '/x', HOME: '/h' }, expected: '/x/ring0' },
    { env: { XDG_CACHE_HOME: 'relative', HOME: '/h' }, expected: '/h/.cache/ring0' },
    { env: { HOME: '/h' }, expected: '/h/.cache/ring0' },
    { env: { HOME: '' }, expected: path.join(os.userInfo().homedir, '.cache/ring0') },
    { env: {}, expected: path.join(os.userInfo().homedir, '.cache/ring0') },
  ];
  for (const { env, expected } of cases)
    it(JSON.stringify(env), () => assert.equal(cacheDir(env), expected));
});

describe('apt’s output', () => {
  it('of alternatives the first is taken, and versions are dropped', () => {
    const text =
      'Package: a\nVersion: 1\nDepends: b (>= 2) | c, d:any, e\nDescription: x\n more\n\nPackage: z\nVersion: 0\n';
    assert.deepEqual(parsePackage(text), {
      name: 'a',
      version: '1',
      bytes: 0,
      depends: ['b', 'd', 'e'],
    });
  });

  it('nothing is no package', () => assert.equal(parsePackage(''), undefined));

  it('an unknown failure quotes apt', () => {
    const error = aptError(
      'apt-get update',
      { status: 100, stdout: '', stderr: 'W: x\nE: Something odd\n' },
      '/c',
    );
    assert.match(error.message, /apt-get update failed \(Something odd\)/);
  });
});

function readdirOf(dir: string): string[] {
  return existsSync(dir) ? readdirSync(dir) : [];
}
