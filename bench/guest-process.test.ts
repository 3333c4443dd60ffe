import assert from 'node:assert/strict';
import { it } from 'node:test';
import { GuestProcess } from './guest-process.ts';

const script = (source: string): string[] => [process.execPath, '-e', source];

it('finds texts in turn, also where they come in pieces', async () => {
  const source = "process.stdout.write('one be'); setTimeout(() => console.log('gin two end'), 50)";
  const guest = new GuestProcess(script(source), 30);
  const begin = await guest.until('begin');
  assert.equal(begin.before, 'one ');
  assert.ok(begin.atMs > guest.startedMs);
  assert.equal((await guest.until('end')).before, ' two ');
  await guest.end();
});

it('hears what is written to it', async () => {
  const guest = new GuestProcess(script('process.stdin.pipe(process.stdout)'), 30);
  guest.write('hello\n');
  await guest.until('hello');
  await guest.kill();
});

it('hands over standard error at the end', async () => {
  const guest = new GuestProcess(script("console.error('statistics')"), 30);
  assert.equal(await guest.end(), 'statistics\n');
});

const failures = [
  {
    name: 'an end before the text',
    command: script('console.error(\'{"a":1}\\nno such kernel\'); process.exitCode = 3'),
    timeoutS: 30,
    expected: /^ended with status 3: no such kernel$/,
  },
  {
    name: 'a command that is not there',
    command: ['/nonexistent/emulator'],
    timeoutS: 30,
    expected: /ENOENT/,
  },
  {
    name: 'a guest that is silent for too long',
    command: script('setInterval(() => {}, 1000)'),
    timeoutS: 0.5,
    expected: /^not ready after 0\.5 s$/,
  },
];
for (const { name, command, timeoutS, expected } of failures)
  it(`reports ${name}`, async () => {
    const guest = new GuestProcess(command, timeoutS);
    await assert.rejects(guest.until('begin'), { message: expected });
    await guest.kill();
  });
