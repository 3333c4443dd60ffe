import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type CpioEntry, writeCpio } from './cpio.ts';
import { buildInitramfs } from './initramfs.ts';

interface Member {
  readonly path: string;
  readonly mode: number;
  readonly data: string;
  readonly device: readonly [number, number];
}

/** Reads the format by its description, so that the writer is not its own judge. */
function readCpio(archive: Uint8Array): Member[] {
  const bytes = Buffer.from(archive);
  const members: Member[] = [];
  let offset = 0;
  for (;;) {
    const at = offset;
    const field = (index: number): number => {
      const start = at + 6 + index * 8;
      return Number.parseInt(bytes.toString('latin1', start, start + 8), 16);
    };
    assert.equal(bytes.toString('latin1', offset, offset + 6), '070701');
    const nameBytes = field(11);
    const path = bytes.toString('utf8', offset + 110, offset + 110 + nameBytes - 1);
    assert.equal(bytes[offset + 110 + nameBytes - 1], 0);
    const dataAt = (offset + 110 + nameBytes + 3) & ~3;
    if (path === 'TRAILER!!!') {
      assert.equal(dataAt, bytes.length);
      return members;
    }
    const data = bytes.toString('utf8', dataAt, dataAt + field(6));
    members.push({ path, mode: field(1), data, device: [field(9), field(10)] });
    offset = (dataAt + field(6) + 3) & ~3;
  }
}

describe('writeCpio', () => {
  it('writes each kind of entry, padded to 4 bytes whatever the lengths are', () => {
    const entries: CpioEntry[] = [
      { type: 'directory', path: 'd', mode: 0o755 },
      { type: 'char-device', path: 'd/console', mode: 0o600, major: 5, minor: 1 },
      { type: 'symlink', path: 'd/s', target: '../büsybox' },
      ...['', 'a', 'ab', 'abc', 'abcd'].map(
        (text): CpioEntry => ({
          type: 'file',
          path: `/f${text}`,
          mode: 0o644,
          bytes: Buffer.from(text),
        }),
      ),
    ];
    assert.deepEqual(readCpio(writeCpio(entries)), [
      { path: 'd', mode: 0o040755, data: '', device: [0, 0] },
      { path: 'd/console', mode: 0o020600, data: '', device: [5, 1] },
      { path: 'd/s', mode: 0o120777, data: '../büsybox', device: [0, 0] },
      { path: 'f', mode: 0o100644, data: '', device: [0, 0] },
      { path: 'fa', mode: 0o100644, data: 'a', device: [0, 0] },
      { path: 'fab', mode: 0o100644, data: 'ab', device: [0, 0] },
      { path: 'fabc', mode: 0o100644, data: 'abc', device: [0, 0] },
      { path: 'fabcd', mode: 0o100644, data: 'abcd', device: [0, 0] },
    ]);
  });

  it('gives the same bytes for the same entries', () => {
    const entries: CpioEntry[] = [{ type: 'directory', path: 'd', mode: 0o755 }];
    assert.deepEqual(writeCpio(entries), writeCpio(entries));
  });
});

describe('buildInitramfs', () => {
  const members = readCpio(
    buildInitramfs(Buffer.from('the program'), [
      { group: 'scsi', name: 'a.ko', bytes: Buffer.from('driver') },
    ]),
  );

  it('has what the kernel and init need', () => {
    const paths = members.map((member) => member.path);
    for (const path of [
      'init',
      'bin/busybox',
      'dev/console',
      'proc',
      'sys',
      'dev',
      'etc/load',
      'etc/plugged',
      'etc/session',
      'lib/modules/a.ko',
    ])
      assert.ok(paths.includes(path), path);
    assert.equal(members.find((member) => member.path === 'bin/busybox')?.data, 'the program');
  });

  it('has each parent before its children', () => {
    const seen = new Set(['.']);
    for (const { path } of members) {
      const slash = path.lastIndexOf('/');
      assert.ok(seen.has(slash < 0 ? '.' : path.slice(0, slash)), path);
      seen.add(path);
    }
  });
});
