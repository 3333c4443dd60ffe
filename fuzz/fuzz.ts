// npm run fuzz: damages what parsers read until one of them does not say so as it should. docs/howto/images.md
import { inspect, parseArgs } from 'node:util';
import { APPLIANCE_TARGET } from './appliances.ts';
import { DEVICE_TARGETS } from './devices.ts';
import { TARGETS as IMAGE_TARGETS, type Target } from './images.ts';
import { REQUEST_TARGETS } from './requests.ts';

const TARGETS = [...IMAGE_TARGETS, APPLIANCE_TARGET, ...DEVICE_TARGETS, ...REQUEST_TARGETS];

/** Of one seed, so that what is found is found again at once. */
const ROUNDS = 20;

const USAGE = `Usage: npm run fuzz -- [options] [target…]

  --seed <n>      the first seed (default: from the clock)
  --seconds <n>   how long, all targets together (default: 60)
  --help          print this

Targets: ${TARGETS.map(({ name }) => name).join(', ')}; all without one.
`;

interface Request {
  readonly targets: readonly Target[];
  readonly seed: number;
  readonly seconds: number;
}

function parseRequest(args: string[]): Request | undefined {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      seed: { type: 'string' },
      seconds: { type: 'string', default: '60' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return undefined;
  const unknown = positionals.find((name) => !TARGETS.some((target) => target.name === name));
  if (unknown !== undefined) throw new Error(`there is no target '${unknown}'; see --help`);
  const seed = Number(values.seed ?? Date.now() % 2 ** 31);
  const seconds = Number(values.seconds);
  if (!Number.isInteger(seed) || seed < 0) throw new Error(`--seed ${values.seed}: give a number`);
  if (!(seconds > 0)) throw new Error(`--seconds ${values.seconds}: give a number above 0`);
  const targets = TARGETS.filter(
    ({ name }) => positionals.length === 0 || positionals.includes(name),
  );
  return { targets, seed, seconds };
}

/** Targets take turns, seed by seed. Resolves with the exit status. */
async function fuzz({ targets, seed: first, seconds }: Request): Promise<number> {
  const endMs = performance.now() + seconds * 1000;
  const counts = new Map<string, { opened: number; refused: number }>();
  for (let seed = first; performance.now() < endMs; seed++) {
    for (const target of targets) {
      try {
        const { opened, refused } = await target.run(seed, ROUNDS);
        const before = counts.get(target.name) ?? { opened: 0, refused: 0 };
        counts.set(target.name, {
          opened: before.opened + opened,
          refused: before.refused + refused,
        });
      } catch (error) {
        const what = inspect(error);
        process.stderr.write(
          `${target.name}: seed ${seed} finds a mistake of ours: ${what}\n` +
            `again: npm run fuzz -- ${target.name} --seed ${seed} --seconds 1\n`,
        );
        return 1;
      }
    }
  }
  for (const [name, { opened, refused }] of counts)
    process.stdout.write(`${name}: ${opened} opened, ${refused} refused, none wrongly\n`);
  return 0;
}

try {
  const request = parseRequest(process.argv.slice(2));
  if (request === undefined) process.stdout.write(USAGE);
  else process.exitCode = await fuzz(request);
} catch (error) {
  process.stderr.write(`fuzz: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
