// npm run bench: the same guests on ring0 and its peers, in turn. bench/README.md tells how to read it.
import { mkdir, writeFile } from 'node:fs/promises';
import os from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { diskSessions } from './disk-session.ts';
import { kernelSession } from './kernel-session.ts';
import { KERNELS, supports } from './kernels.ts';
import { linuxSession } from './linux-session.ts';
import { PEERS, type PeerName, type Presence, type Sample, type Session } from './measurement.ts';
import { findPeers } from './peers.ts';
import { report } from './report.ts';
import { type Failure, type Gathered, judge, type Results, ratiosOf } from './results.ts';
import { storageSessions } from './storage-session.ts';

const IMAGE_DIR = fileURLToPath(new URL('../build/bench', import.meta.url));
const RESULTS_DIR = fileURLToPath(new URL('results', import.meta.url));

const USAGE = `Usage: npm run bench -- [options]

  --only <name,…>    these workloads or groups alone; latest.json is then left as it is
  --peers <name,…>   these peers alone (${PEERS.join(', ')}); the same holds
  --rounds <n>       how often each runs (default: 3)
  --json             print the results as JSON instead of tables
  --list             print the workloads' names
  --help             print this
`;

interface Request {
  readonly sessions: readonly Session[];
  readonly only: readonly string[];
  readonly peers: readonly PeerName[];
  readonly rounds: number;
  readonly json: boolean;
  readonly list: boolean;
}

class UsageError extends Error {}

function allSessions(): Session[] {
  return [
    linuxSession(process.env),
    ...KERNELS.map((kernel) => kernelSession(kernel, 'metal64', IMAGE_DIR)),
    ...KERNELS.filter((kernel) => supports(kernel, 'metal32')).map((kernel) =>
      kernelSession(kernel, 'metal32', IMAGE_DIR),
    ),
    ...storageSessions(IMAGE_DIR),
    ...diskSessions(IMAGE_DIR),
  ];
}

const fullName = (session: Session, workload: string): string => `${session.group}/${workload}`;

/** A name is a group, a workload, or both with a slash between. */
const isNamed = (session: Session, workload: string, only: readonly string[]): boolean =>
  only.length === 0 ||
  [session.group, workload, fullName(session, workload)].some((name) => only.includes(name));

function parseRequest(args: string[]): Request | undefined {
  const { values } = parseArgs({
    args,
    options: {
      only: { type: 'string', multiple: true, default: [] },
      peers: { type: 'string', multiple: true, default: [] },
      rounds: { type: 'string', default: '3' },
      json: { type: 'boolean', default: false },
      list: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return undefined;
  const rounds = Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1)
    throw new UsageError(`--rounds ${values.rounds}: give a number from 1`);
  const only = values.only.flatMap((list) => list.split(','));
  const peerNames = values.peers.flatMap((list) => list.split(','));
  const unknownPeer = peerNames.find((name) => !PEERS.some((peer) => peer === name));
  if (unknownPeer !== undefined)
    throw new UsageError(`--peers ${unknownPeer}: the peers are ${PEERS.join(', ')}`);
  const all = allSessions();
  for (const name of only)
    if (!all.some((session) => session.workloads.some((w) => isNamed(session, w, [name]))))
      throw new UsageError(`--only ${name}: no such workload; --list names them`);
  return {
    sessions: all.filter((session) => session.workloads.some((w) => isNamed(session, w, only))),
    only,
    peers: PEERS.filter((peer) => peerNames.length === 0 || peerNames.includes(peer)),
    rounds,
    json: values.json,
    list: values.list,
  };
}

/** Samples and failures of all workloads, by full name and peer. */
class Gathering {
  readonly #samples = new Map<string, Map<PeerName, Sample[]>>();
  readonly #failures = new Map<string, Map<PeerName, Failure>>();

  add(name: string, peer: PeerName, sample: Sample): void {
    const ofWorkload = this.#samples.get(name) ?? new Map<PeerName, Sample[]>();
    this.#samples.set(name, ofWorkload);
    ofWorkload.set(peer, [...(ofWorkload.get(peer) ?? []), sample]);
  }

  fail(name: string, peer: PeerName, failed: string): void {
    const ofWorkload = this.#failures.get(name) ?? new Map<PeerName, Failure>();
    this.#failures.set(name, ofWorkload);
    ofWorkload.set(peer, { failed });
  }

  hasFailed(name: string, peer: PeerName): boolean {
    return this.#failures.get(name)?.has(peer) ?? false;
  }

  /** One failure in any round fails the workload on that peer. */
  of(name: string): Map<PeerName, Gathered> {
    return new Map<PeerName, Gathered>([
      ...(this.#samples.get(name) ?? []),
      ...(this.#failures.get(name) ?? []),
    ]);
  }
}

/** Runs a session on one peer. What was not measured when it fails has failed, and is not tried again. */
async function runOnce(session: Session, peer: PeerName, gathering: Gathering): Promise<void> {
  const open = new Set(session.workloads);
  try {
    await session.run(peer, (workload, sample) => {
      open.delete(workload);
      gathering.add(fullName(session, workload), peer, sample);
      process.stderr.write(
        `  ${fullName(session, workload)} on ${peer}: ${sample.seconds.toFixed(3)} s\n`,
      );
    });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    for (const workload of open) gathering.fail(fullName(session, workload), peer, why);
    process.stderr.write(`  ${session.group}/${[...open].join(',')} on ${peer}: ${why}\n`);
  }
}

/** Peers take turns in each round, another one first each time, so that none has the quiet half of an hour. */
async function runRounds(
  request: Request,
  versions: ReadonlyMap<PeerName, Presence>,
): Promise<Gathering> {
  const gathering = new Gathering();
  for (let round = 0; round < request.rounds; round++) {
    process.stderr.write(`round ${round + 1} of ${request.rounds}\n`);
    for (const session of request.sessions) {
      const peers = session.peers.filter(
        (peer) => request.peers.includes(peer) && 'version' in (versions.get(peer) ?? {}),
      );
      const first = round % Math.max(peers.length, 1);
      for (const peer of [...peers.slice(first), ...peers.slice(0, first)])
        if (!session.workloads.some((w) => gathering.hasFailed(fullName(session, w), peer)))
          await runOnce(session, peer, gathering);
    }
  }
  return gathering;
}

const loadAverage = (): number => os.loadavg()[0] ?? 0;

async function bench(request: Request): Promise<Results> {
  const { peers } = request;
  const taking = new Set(request.sessions.flatMap((session) => session.peers));
  const versions = await findPeers(peers.filter((peer) => taking.has(peer)));
  const loadBefore = loadAverage();
  const gathering = await runRounds(request, versions);
  for (const session of request.sessions) await session.end?.();
  const workloads = request.sessions.flatMap((session) =>
    session.workloads
      .filter((workload) => isNamed(session, workload, request.only))
      .map((workload) => judge(session.group, workload, gathering.of(fullName(session, workload)))),
  );
  const cpus = os.cpus();
  const model = cpus[0]?.model.trim() ?? os.arch();
  return {
    date: new Date().toISOString(),
    machine: `${cpus.length} x ${model}, ${Math.round(os.totalmem() / 2 ** 30)} GiB`,
    rounds: request.rounds,
    load: [loadBefore, loadAverage()],
    versions: Object.fromEntries(versions),
    workloads,
    ratios: ratiosOf(workloads),
  };
}

async function main(args: string[]): Promise<number> {
  let request: Request | undefined;
  try {
    request = parseRequest(args);
  } catch (error) {
    process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  }
  if (request === undefined) {
    process.stdout.write(USAGE);
    return 0;
  }
  if (request.list) {
    const names = request.sessions.flatMap((s) => s.workloads.map((w) => fullName(s, w)));
    process.stdout.write(`${names.join('\n')}\n`);
    return 0;
  }
  const results = await bench(request);
  const text = `${JSON.stringify(results, undefined, 2)}\n`;
  process.stdout.write(request.json ? text : report(results));
  if (request.only.length === 0 && request.peers.length === PEERS.length) {
    await mkdir(RESULTS_DIR, { recursive: true });
    await writeFile(`${RESULTS_DIR}/latest.json`, text);
  }
  return 0;
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.once(signal, () => process.exit(128 + os.constants.signals[signal]));
process.exitCode = await main(process.argv.slice(2));
