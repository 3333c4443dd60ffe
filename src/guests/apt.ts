import { mkdir, readdir, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { RequestError } from '#base/errors.ts';
import { runTool, type ToolResult } from './tool.ts';

/** A package as the lists describe it. */
export interface AptPackage {
  readonly name: string;
  readonly version: string;
  /** Of the .deb; 0 when the list does not say. */
  readonly bytes: number;
  /** The names it depends on, without versions; of alternatives the first. */
  readonly depends: readonly string[];
}

const INSTEAD = 'or pass your own guest with --kernel and --initrd';

/** apt hangs for minutes on a network that drops packets, unless told not to. Its user for downloads cannot see our cache. */
const FETCHING = [
  '-q',
  '-o',
  'Acquire::http::Timeout=20',
  '-o',
  'Acquire::Retries=2',
  '-o',
  'APT::Sandbox::User=root',
];
/** Package lists are all we need: no translations, icons, sources or file lists. */
const LISTS_ONLY = [
  ...['-o', 'Acquire::Languages=none'],
  ...[
    'deb::DEP-11',
    'deb::DEP-11-icons-small',
    'deb::DEP-11-icons',
    'deb::Contents-deb',
    'deb-src::Sources',
  ].flatMap((target) => ['-o', `Acquire::IndexTargets::${target}::DefaultEnabled=false`]),
];

interface AptOptions {
  /** Debian's name of the guest's architecture, whatever the host's is. */
  readonly architecture: string;
  /** For package lists of our own. Not shared with another `Apt`: it takes no locks. */
  readonly stateDir: string;
  /** What a message about a full disk names. */
  readonly cacheDir: string;
  readonly env: NodeJS.ProcessEnv;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Debian packages by way of the system's apt: its sources, its keys, its proxy. The system's own package lists are used
 * as long as they know the packages; after `update` lists of our own in `stateDir`, so that nobody has to be root and
 * nothing on the system changes.
 */
export class Apt {
  readonly #options: AptOptions;
  #ownLists = false;

  constructor(options: AptOptions) {
    this.#options = options;
  }

  /** @throws {RequestError} when the tools of a Debian system are not there. */
  async check(): Promise<void> {
    for (const tool of ['apt-get', 'apt-cache', 'dpkg-deb']) {
      const result = await this.#run(tool, ['--version']);
      if (result.status !== 0) throw missingTool(tool);
    }
  }

  /** Fetches the present lists of all sources. Some may fail; what matters is whether the packages are then known. */
  async update(): Promise<ToolResult> {
    const { stateDir } = this.#options;
    await mkdir(path.join(stateDir, 'lists', 'partial'), { recursive: true });
    await mkdir(path.join(stateDir, 'archives', 'partial'), { recursive: true });
    await writeFile(path.join(stateDir, 'status'), '');
    this.#ownLists = true;
    // Without the mode a source that cannot be reached is a warning, and the status 0.
    const strict = ['-o', 'APT::Update::Error-Mode=any'];
    return this.#run('apt-get', [
      ...this.#where(),
      ...FETCHING,
      ...LISTS_ONLY,
      ...strict,
      'update',
    ]);
  }

  /** The newest version of a package, or undefined when no list has it. */
  async find(name: string): Promise<AptPackage | undefined> {
    const args = [...this.#where(), 'show', '--no-all-versions', name];
    const { status, stdout } = await this.#run('apt-cache', args);
    return status === 0 ? parsePackage(stdout) : undefined;
  }

  /**
   * Puts the package's .deb into `directory`, and resolves with its path; undefined when the servers no longer have what
   * the lists say. `onProgress` hears how many bytes are there.
   * @throws {RequestError} for what the user can do something about.
   */
  async download(
    wanted: AptPackage,
    directory: string,
    onProgress: (bytes: number) => void,
  ): Promise<string | undefined> {
    const timer = setInterval(() => void sizeOf(directory).then(onProgress, () => {}), 200);
    try {
      const args = [...this.#where(), ...FETCHING, 'download', `${wanted.name}=${wanted.version}`];
      const result = await this.#run('apt-get', args, directory);
      const deb = (await readdir(directory)).find((file) => file.endsWith('.deb'));
      if (result.status === 0 && deb !== undefined) return path.join(directory, deb);
      if (isGone(result)) return undefined;
      throw aptError(`apt-get download ${wanted.name}`, result, this.#options.cacheDir);
    } finally {
      clearInterval(timer);
    }
  }

  /** Unpacks a .deb. @throws {RequestError} on a full disk or a broken file. */
  async unpack(deb: string, directory: string): Promise<void> {
    const result = await this.#run('dpkg-deb', ['-x', deb, directory]);
    if (result.status !== 0)
      throw aptError(`dpkg-deb -x ${path.basename(deb)}`, result, this.#options.cacheDir);
  }

  #where(): string[] {
    const { architecture, stateDir: dir } = this.#options;
    const guests = [
      ...['-o', `APT::Architecture=${architecture}`],
      ...['-o', `APT::Architectures=${architecture}`],
    ];
    if (!this.#ownLists) return guests;
    return [
      ...guests,
      ...['-o', `Dir::State=${dir}`, '-o', `Dir::State::status=${path.join(dir, 'status')}`],
      ...['-o', `Dir::Cache=${dir}`, '-o', `Dir::Cache::archives=${path.join(dir, 'archives')}`],
      ...['-o', 'Debug::NoLocking=1'],
    ];
  }

  #run(tool: string, args: readonly string[], cwd?: string): Promise<ToolResult> {
    // Messages are matched below, so they must be in English.
    const env = { ...this.#options.env, LC_ALL: 'C', LANGUAGE: 'C' };
    return runTool(tool, args, { env, cwd, signal: this.#options.signal });
  }
}

/** The first paragraph of `apt-cache show`: deb-control(5). */
export function parsePackage(text: string): AptPackage | undefined {
  const fields = new Map<string, string>();
  for (const line of text
    .split(/\n\s*\n/, 1)
    .join('')
    .split('\n')) {
    const match = /^([A-Za-z0-9-]+):\s*(.*)$/.exec(line);
    if (match !== null) fields.set(match[1] ?? '', match[2] ?? '');
  }
  const name = fields.get('Package');
  const version = fields.get('Version');
  if (name === undefined || version === undefined) return undefined;
  const depends = (fields.get('Depends') ?? '')
    .split(',')
    .map((one) => /^\s*([a-z0-9][a-z0-9.+-]*)/.exec(one)?.[1])
    .filter((one) => one !== undefined);
  return { name, version, bytes: Number(fields.get('Size') ?? 0) || 0, depends };
}

/** Why apt or dpkg-deb failed, in one line that says what to do. */
export function aptError(what: string, result: ToolResult, cacheDir: string): RequestError {
  const text = `${result.stderr}\n${result.stdout}`;
  if (/no space left on device|enough free space|disk quota exceeded/i.test(text))
    return diskFull(cacheDir);
  const complaint = firstComplaint(text) ?? `status ${result.status}`;
  if (
    /could not resolve|temporary failure|could(n't| not) connect|unable to connect|cannot initiate|unreachable|timed out|failed to fetch|name or service/i.test(
      text,
    )
  )
    return new RequestError(
      `default guest: cannot reach the package servers (${complaint}); check the network or proxy, ${INSTEAD}`,
    );
  return new RequestError(`default guest: ${what} failed (${complaint}); mend that, ${INSTEAD}`);
}

export function diskFull(cacheDir: string): RequestError {
  return new RequestError(
    `default guest: no space left for ${cacheDir}; free 250 MB, or set RING0_CACHE to a folder elsewhere`,
  );
}

export function unknownPackage(name: string, update: ToolResult, cacheDir: string): RequestError {
  if (update.status !== 0 || /failed to fetch/i.test(update.stderr))
    return aptError('apt-get update', update, cacheDir);
  return new RequestError(
    `default guest: this system's package sources do not have ${name} (Debian's do); add Debian's main section, ${INSTEAD}`,
  );
}

function missingTool(tool: string): RequestError {
  return new RequestError(
    `default guest: it comes from Debian's packages, and there is no ${tool} here; use a Debian system, ${INSTEAD}`,
  );
}

/** The lists are older than what the servers hold. */
function isGone(result: ToolResult): boolean {
  return /\b404\b|hash sum mismatch|file has unexpected size|was not found|can't find a source/i.test(
    result.stderr,
  );
}

function firstComplaint(text: string): string | undefined {
  const lines = text.split('\n').map((line) => line.trim());
  const line =
    lines.find((one) => /^(E|Err|dpkg-deb: error|tar):/.test(one)) ??
    lines.find((one) => one !== '');
  return line
    ?.replace(/^(E|Err):\s*/, '')
    .replace(/\s+/g, ' ')
    .slice(0, 200);
}

async function sizeOf(directory: string): Promise<number> {
  let bytes = 0;
  for (const file of await readdir(directory, { recursive: true })) {
    const info = await stat(path.join(directory, file));
    if (info.isFile()) bytes += info.size;
  }
  return bytes;
}
