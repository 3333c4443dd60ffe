import assert from 'node:assert/strict';
import { it } from 'node:test';
import { APPLIANCE_TARGET } from './appliances.ts';
import { DEVICE_TARGETS } from './devices.ts';
import { TARGETS } from './images.ts';
import { REQUEST_TARGETS } from './requests.ts';

for (const target of [...TARGETS, APPLIANCE_TARGET])
  it(`damaged ${target.name} images are refused or read, and nothing else`, async () => {
    const { opened, refused } = await target.run(1, 10);
    assert.equal(opened + refused, 10);
  });

for (const target of DEVICE_TARGETS)
  it(`${target.name} keeps within its disk whatever a driver asks for`, async () => {
    const { opened } = await target.run(1, 20);
    assert.ok(opened > 20, `${opened} requests`);
  });

for (const target of REQUEST_TARGETS)
  it(`${target.name}: what was written is there`, async () => {
    const { opened } = await target.run(1, 2);
    assert.equal(opened, 2);
  });
