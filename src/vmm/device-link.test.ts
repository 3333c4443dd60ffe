import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Worker } from 'node:worker_threads';
import { layOut } from '#cpu/layout.ts';
import { PAGE_CODE, PAGE_RAM } from '#ir/state.ts';
import { DeviceLink } from './device-link.ts';
import { VmMemory } from './vm-memory.ts';

const RAM_BYTES = 40 << 20;

function rig() {
  const layout = layOut(1, RAM_BYTES, 0);
  const memory = new WebAssembly.Memory({ initial: layout.pages, maximum: 65536, shared: true });
  return { layout, memory, link: new DeviceLink(memory, layout) };
}

const write = (offset: number) => ({ slot: 3, bar: 4, offset, size: 2, value: offset * 2 });

describe('the link to the device thread', () => {
  it('carries accesses in their order, and asks for one wake', () => {
    const { link } = rig();
    assert.equal(link.post(write(8)), true);
    assert.equal(link.post({ ...write(12), value: undefined }), false);
    assert.deepEqual(link.take(), write(8));
    assert.deepEqual(link.take(), { ...write(12), value: undefined });
    assert.equal(link.take(), undefined);
    link.sleep();
    assert.equal(link.post(write(4)), true);
  });

  it('tells what the device thread has been told of and does nothing about', () => {
    const { link } = rig();
    assert.equal(link.isUnserved, false);
    link.post(write(8));
    assert.equal(link.isUnserved, true);
    link.setServing(true);
    assert.equal(link.isUnserved, false);
    link.setServing(false);
    assert.equal(link.isUnserved, true);
    link.take();
    assert.equal(link.isUnserved, false);
  });

  it('answers reads of another thread, which waits when the ring is full', async () => {
    const { link, memory, layout } = rig();
    const source = `
      const { parentPort, workerData: { memory, layout, url } } = require('node:worker_threads');
      import(url).then(({ DeviceLink }) => {
        const link = new DeviceLink(memory, layout);
        for (let i = 0; i < 3000; i++) link.post({ slot: 1, bar: 0, offset: i, size: 4, value: i });
        const { answered } = link;
        link.post({ slot: 1, bar: 0, offset: 0, size: 4, value: undefined });
        parentPort.postMessage(link.waitForAnswer(answered));
      });`;
    const url = new URL('./device-link.ts', import.meta.url).href;
    const worker = new Worker(source, { eval: true, workerData: { memory, layout, url } });
    const answer = new Promise((resolve) => {
      worker.on('message', resolve);
    });
    let next = 0;
    const serve = setInterval(() => {
      for (let access = link.take(); access !== undefined; access = link.take()) {
        if (access.value === undefined) link.answer(0xdead_beef);
        else assert.equal(access.value, next++);
      }
    }, 1);
    assert.equal(await answer, 0xdead_beef);
    clearInterval(serve);
    assert.equal(next, 3000);
    await worker.terminate();
  });

  it('names pages that hold code, or says that there are too many', () => {
    const { link } = rig();
    link.pushStale(7);
    link.pushStale(9);
    assert.deepEqual(link.takeStale(), [7, 9]);
    assert.deepEqual(link.takeStale(), []);
    for (let page = 0; page < 5000; page++) link.pushStale(page);
    assert.equal(link.takeStale(), undefined);
    assert.deepEqual(link.takeStale(), []);
  });

  it('tells whether a line has changed', () => {
    const { link } = rig();
    const changes = [true, true, false, false].map((asserted) => link.setLine(5, asserted));
    assert.deepEqual(changes, [true, false, true, false]);
    link.setLine(2, true);
    assert.equal(link.lines, 1 << 2);
  });
});

describe('guest memory for devices', () => {
  const { layout, memory } = rig();
  const map = new Uint8Array(memory.buffer, layout.pageMap, RAM_BYTES / 4096).fill(PAGE_RAM);
  map.fill(0, 0xa0, 0xc0);
  const stale: number[] = [];
  const ram = new VmMemory(memory, layout, RAM_BYTES, (page) => stale.push(page));

  const ranges = [
    { name: 'the first byte', at: 0, length: 1, isRam: true },
    { name: 'up to the end', at: RAM_BYTES - 16, length: 16, isRam: true },
    { name: 'past the end', at: RAM_BYTES - 16, length: 17, isRam: false },
    { name: 'far out', at: 2 ** 53, length: 1, isRam: false },
    { name: 'below 0', at: -1, length: 1, isRam: false },
    { name: 'no number', at: Number.NaN, length: 1, isRam: false },
    { name: 'the video memory', at: 0xa_0000, length: 1, isRam: false },
    { name: 'across it', at: 0x9_ffff, length: 0x2_0002, isRam: false },
    { name: 'up to it', at: 0x9_f000, length: 0x1000, isRam: true },
  ];
  for (const { name, at, length, isRam } of ranges)
    it(`${name} is ${isRam ? '' : 'not '}RAM`, () =>
      assert.equal(ram.bytes(at, length)?.length, isRam ? length : undefined));

  it('gives whole pages where they lie, whichever it gave before', () => {
    const start = ram.bytes(0, 1)?.byteOffset ?? 0;
    for (const mib of [1, 17, 33, 17, 1, 1, 33]) {
      const page = ram.bytes(mib << 20, 4096);
      assert.deepEqual([page?.byteOffset, page?.length], [start + (mib << 20), 4096]);
    }
    assert.equal(ram.bytes((1 << 20) + 512, 4096)?.byteOffset, start + (1 << 20) + 512);
    assert.equal(ram.bytes(1 << 20, 512)?.length, 512);
  });

  it('tells of writes to pages with translated code', () => {
    map[0x11] = PAGE_RAM | PAGE_CODE;
    map[0x13] = PAGE_RAM | PAGE_CODE;
    ram.wrote(0x1_0000, 0x1000);
    ram.wrote(0x1_1fff, 1);
    ram.wrote(0x1_0fff, 0x2002);
    assert.deepEqual(stale, [0x11, 0x11, 0x13]);
  });
});
