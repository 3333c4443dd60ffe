import assert from 'node:assert/strict';
import { it } from 'node:test';
import { SpaceWatch } from './space-watch.ts';

const GIB = 2 ** 30;

it('room on the host that runs out is told of in time, and once', async () => {
  const growthBytes = 8 * GIB;
  let freeBytes = 10 * GIB;
  const told: string[] = [];
  const watch = new SpaceWatch(
    () => Promise.resolve([{ files: ['a.vdi', 'b.vhdx'], freeBytes, growthBytes }]),
    (line) => told.push(line),
  );
  const after = async (free: number): Promise<number> => {
    freeBytes = free;
    await watch.look();
    return told.length;
  };
  assert.equal(await after(10 * GIB), 0, 'enough');
  assert.equal(await after(7 * GIB), 1, 'others took room');
  assert.match(told[0] ?? '', /^a\.vdi, b\.vhdx: .*grow by 8 GiB.* 7 GiB left; make room before/);
  assert.equal(await after(6 * GIB), 1, 'known');
  assert.equal(await after(GIB / 2), 2, 'soon');
  assert.match(told[1] ?? '', /will wait/);
  assert.equal(await after(GIB / 4), 2, 'known');
  assert.equal(await after(10 * GIB), 2, 'there is room again');
  assert.equal(await after(GIB / 4), 3, 'and again not');
});

it('what was said when the disks were opened is not said again', async () => {
  const told: string[] = [];
  const pools = [{ files: ['a'], freeBytes: 4 * GIB, growthBytes: 8 * GIB }];
  const watch = new SpaceWatch(
    () => Promise.resolve(pools),
    (line) => told.push(line),
  );
  await watch.look();
  assert.deepEqual(told, []);
});
