import type { Command } from 'commander';
import { RequestError } from '#base/errors.ts';
import type { CliHost } from '../host.ts';
import { catchInterrupts, Interrupted } from '../interrupts.ts';
import type { AddCommand } from '../lazy-command.ts';
import type { AmendFlags } from './amend.ts';
import type { BenchFlags } from './bench.ts';
import type { BitmapAction, BitmapFlags } from './bitmap.ts';
import type { CheckFlags } from './check.ts';
import type { CommitFlags } from './commit.ts';
import type { CompareFlags } from './compare.ts';
import type { ImageContext } from './context.ts';
import type { ConvertFlags } from './convert.ts';
import type { CreateFlags } from './create.ts';
import type { DdFlags } from './dd.ts';
import type { InfoFlags } from './info.ts';
import type { MapFlags } from './map.ts';
import type { MeasureFlags } from './measure.ts';
import type { RebaseFlags } from './rebase.ts';
import type { ResizeFlags } from './resize.ts';
import type { SnapshotFlags } from './snapshot.ts';

const HELP = `
Flags and exit statuses are those of qemu-img. A format that is not named is probed; name it (-f) for disks that a
guest has written to, because it can fake any format's header.

Examples:
  ring0 image create -f qcow2 disk.qcow2 20G
  ring0 image convert -O qcow2 -c disk.vmdk disk.qcow2
  ring0 image info --output json disk.qcow2
  ring0 image resize -f raw disk.raw +5G
  ring0 image snapshot -c before-upgrade disk.qcow2`;

/** All of it is loaded with the first command that runs: `ring0 run` and --help need none of it. */
type Run = (context: ImageContext) => Promise<number>;
type Start = (flags: ProgressFlags, run: Run) => Promise<void>;

interface ImageOptsFlags {
  readonly imageOpts?: boolean;
  readonly targetImageOpts?: boolean;
}

interface ProgressFlags {
  readonly progress?: boolean;
  readonly quiet?: boolean;
}

/** How a command on images, or on appliances, is run. */
export function starter(host: CliHost, done: (status: number) => void): Start {
  return async (flags, run) => done(await runWith(host, flags, run));
}

/** Adds the commands of `ring0 image`. */
export function defineImage(image: Command, add: AddCommand, start: Start): void {
  image.helpCommand(false).addHelpText('after', HELP);
  image.hook('preAction', async (_image, command) => {
    const { imageOpts, targetImageOpts } = command.opts<ImageOptsFlags>();
    if (imageOpts !== true && targetImageOpts !== true) return;
    const { applyImageOpts, applyTargetOpts } = await import('./image-opts.ts');
    if (targetImageOpts === true) applyTargetOpts(command);
    if (imageOpts === true) applyImageOpts(command);
  });
  addInspection(image, add, start);
  addComparison(image, add, start);
  addMaking(image, add, start);
  addCopying(image, add, start);
  addChanges(image, add, start);
  addChains(image, add, start);
  addBench(image, add, start);
  addAmend(image, add, start);
  addBitmap(image, add, start);
}

/**
 * `resize disk -1G`: the size would be taken for a flag. `--` before it says that it is none; what follows it, a file
 * called `-x` with a size, has it already.
 */
export function protectSizes(argv: readonly string[]): string[] {
  const last = argv.at(-1);
  const isResize = argv[0] === 'image' && argv[1] === 'resize' && !argv.includes('--');
  if (!isResize || last === undefined || !/^-\d/.test(last)) return [...argv];
  return [...argv.slice(0, -1), '--', last];
}

async function runWith(host: CliHost, flags: ProgressFlags, run: Run): Promise<number> {
  const [{ makeProgress }, { asRequestError }] = await Promise.all([
    import('./progress.ts'),
    import('./context.ts'),
  ]);
  const quiet = flags.quiet ?? false;
  const style = quiet ? 'none' : flags.progress ? 'percent' : 'bar';
  const progress = makeProgress(host, style);
  const interrupts = catchInterrupts();
  try {
    return await run({ host, signal: interrupts.signal, progress, quiet });
  } catch (error) {
    if (error instanceof Interrupted) return error.exitStatus;
    if (interrupts.signal.aborted) return interrupts.signal.reason.exitStatus;
    throw asRequestError(error);
  } finally {
    progress.end();
    interrupts.release();
  }
}

function collect(value: string, previous: readonly string[] = []): string[] {
  return [...previous, value];
}

function outputFormat(text: string): string {
  if (text === 'human' || text === 'json') return text;
  throw new RequestError(`'${text}' is no form of output; give human or json`, 'output');
}

const FORMAT = ['-f, --format <name>', 'the format; probed when it is not named'] as const;
const IMAGE_OPTS = ['--image-opts', 'the file is given as driver=NAME,file.filename=FILE'] as const;
const SHARED = ['-U, --force-share', 'accepted: reading takes no lock'] as const;
const QUIET = ['-q, --quiet', 'print errors only'] as const;
const PROGRESS = ['-p, --progress', 'show progress in percent on standard output'] as const;
const CACHE = ['-t, --cache <mode>', 'unsafe: does not wait for the disk'] as const;
const SOURCE_CACHE = ['-T, --source-cache <mode>', 'accepted'] as const;
const RATE = ['-r, --rate <size>', 'bytes a second at most; 0: no limit'] as const;
const SNAPSHOT = ['-l, --snapshot <which>', 'the disk as it was at this snapshot'] as const;
const OUTPUT = ['--output <form>', 'human or json', outputFormat, 'human'] as const;

function addInspection(image: Command, add: AddCommand, start: Start): void {
  add(image, 'info <file...>', 'what an image is', (one) =>
    one
      .option(...FORMAT)
      .option(...IMAGE_OPTS)
      .option(...OUTPUT)
      .option('--backing-chain', 'the images behind it, too')
      .option(...SHARED)
      .action((files: string[], flags: InfoFlags) =>
        start({}, async (context) => (await import('./info.ts')).imageInfo(files, flags, context)),
      ),
  );
  add(image, 'map <file>', 'where the parts of the disk lie', (one) =>
    one
      .option(...FORMAT)
      .option(...IMAGE_OPTS)
      .option(...OUTPUT)
      .option('-s, --start-offset <size>', 'from here on')
      .option('-l, --max-length <size>', 'this much of it')
      .option(...SHARED)
      .action((file: string, flags: MapFlags) =>
        start({}, async (context) => (await import('./map.ts')).imageMap(file, flags, context)),
      ),
  );
  add(image, 'check <file>', "whether an image's tables are sound (0 yes, 2 no, 3 leaks)", (one) =>
    one
      .option(...FORMAT)
      .option(...IMAGE_OPTS)
      .option(...OUTPUT)
      .option('-r, --repair <what>', 'mend leaks, or all')
      .option(...SOURCE_CACHE)
      .option(...SHARED)
      .option(...QUIET)
      .action((file: string, flags: CheckFlags & ProgressFlags) =>
        start(flags, async (context) =>
          (await import('./check.ts')).imageCheck(file, flags, context),
        ),
      ),
  );
}

function addComparison(image: Command, add: AddCommand, start: Start): void {
  add(image, 'compare <file1> <file2>', 'whether two disks are the same (0 yes, 1 no)', (one) =>
    one
      .option(...FORMAT)
      .option(...IMAGE_OPTS)
      .option('-F, --second-format <name>', 'the format of the second')
      .option('-s, --strict', 'size and allocation must be the same, too')
      .option(...SOURCE_CACHE)
      .option(...PROGRESS)
      .option(...QUIET)
      .option(...SHARED)
      .action((first: string, second: string, flags: CompareFlags & ProgressFlags) =>
        start(flags, async (context) =>
          (await import('./compare.ts')).imageCompare([first, second], flags, context),
        ),
      ),
  );
  add(image, 'measure [file]', 'how large a new file would be', (one) =>
    one
      .option(...FORMAT)
      .option(...IMAGE_OPTS)
      .option(...SNAPSHOT)
      .option('-O, --target-format <name>', 'the format of the new file', 'raw')
      .option('-o, --options <list>', 'options of the new file', collect)
      .option('--size <size>', 'of an empty disk of this size')
      .option(...OUTPUT)
      .option(...SHARED)
      .action((file: string | undefined, flags: MeasureFlags) =>
        start({}, async (context) =>
          (await import('./measure.ts')).imageMeasure(file, flags, context),
        ),
      ),
  );
}

function addBench(image: Command, add: AddCommand, start: Start): void {
  add(image, 'bench <file>', 'how fast requests are served', (one) =>
    one
      .option(...FORMAT)
      .option(...IMAGE_OPTS)
      .option('-c, --count <n>', 'requests', '75000')
      .option('-d, --depth <n>', 'requests under way at once', '64')
      .option('-s, --buffer-size <size>', 'bytes of a request', '4096')
      .option('-S, --step-size <size>', 'from one request to the next')
      .option('-o, --offset <size>', 'of the first request', '0')
      .option('-w, --write', 'write to it, instead of reading')
      .option('--pattern <byte>', 'what is written', '0')
      .option('--flush-interval <n>', 'flush after each so many')
      .option('--no-drain', 'accepted: no request waits for a flush')
      .option('-n, --native', 'accepted, as -i')
      .option('-i, --aio <mode>', 'accepted: there is one way')
      .option(...CACHE)
      .option(...QUIET)
      .option(...SHARED)
      .action((file: string, flags: BenchFlags & ProgressFlags) =>
        start(flags, async (context) =>
          (await import('./bench.ts')).imageBench(file, flags, context),
        ),
      ),
  );
}

function addMaking(image: Command, add: AddCommand, start: Start): void {
  add(image, 'create [file] [size]', 'make an empty image', (one) =>
    one
      .option('-f, --format <name>', 'the format', 'raw')
      .option('-o, --options <list>', 'name=value,…; help lists them', collect)
      .option('-b, --backing <file>', 'what it reads from until it is written to')
      .option('-F, --backing-format <name>', "the backing file's format")
      .option('-u, --unsafe', 'do not look at the backing file')
      .option(...QUIET)
      .action(
        (file: string | undefined, size: string | undefined, flags: CreateFlags & ProgressFlags) =>
          start(flags, async (context) =>
            (await import('./create.ts')).imageCreate(file, size, flags, context),
          ),
      ),
  );
}

function addCopying(image: Command, add: AddCommand, start: Start): void {
  add(image, 'convert [files...]', 'copy disks, one after the other, to the last file', (one) =>
    one
      .option(...FORMAT)
      .option(...IMAGE_OPTS)
      .option(...SNAPSHOT)
      .option('-O, --target-format <name>', 'the format to write', 'raw')
      .option('-o, --options <list>', 'name=value,…; help lists them', collect)
      .option('-c, --compress', 'write compressed')
      .option('-B, --backing <file>', 'write only what is not in this backing file')
      .option('-b <file>', 'the same')
      .option('-F, --backing-format <name>', "the backing file's format")
      .option('-S, --sparse <size>', 'leave out zeros of this length (4k); 0: write all')
      .option('-n, --no-create', 'write into a file that is there')
      .option(
        '--target-image-opts',
        'with -n: that file is given as driver=NAME,file.filename=FILE',
      )
      .option('--target-is-zero', 'with -n: it reads as zeros')
      .option('-m, --coroutines <n>', 'requests under way at once; 2 to 8, as the host answers')
      .option('-W, --out-of-order', 'write as reads come in')
      .option('-C, --copy-offload', 'accepted')
      .option('--salvage', 'zeros instead of what cannot be read')
      .option('--bitmaps', 'copy the bitmaps, too')
      .option('--skip-broken-bitmaps', 'leave those out that were not closed')
      .option(...CACHE)
      .option(...SOURCE_CACHE)
      .option(...RATE)
      .option(...PROGRESS)
      .option(...QUIET)
      .option(...SHARED)
      .action((files: string[], flags: ConvertFlags & ProgressFlags & { readonly b?: string }) =>
        start(flags, async (context) => {
          const all = flags.b === undefined ? flags : { ...flags, backing: flags.b };
          return (await import('./convert.ts')).imageConvert(files, all, context);
        }),
      ),
  );
  add(image, 'dd <operands...>', 'copy a part: if=FILE of=FILE bs=SIZE count=N skip=N', (one) =>
    one
      .option(...FORMAT)
      .option(...IMAGE_OPTS)
      .option('-O, --target-format <name>', 'the format to write', 'raw')
      .option(...SHARED)
      .option(...QUIET)
      .action((words: string[], flags: DdFlags & ProgressFlags) =>
        start(flags, async (context) => (await import('./dd.ts')).imageDd(words, flags, context)),
      ),
  );
}

function addChanges(image: Command, add: AddCommand, start: Start): void {
  add(image, 'resize <file> <size>', 'make the disk larger or smaller: 20G, +5G, -1G', (one) =>
    one
      .option(...FORMAT)
      .option(...IMAGE_OPTS)
      .option('--preallocation <mode>', 'reserve the new room')
      .option('--shrink', 'what lies beyond the new size may go')
      .option(...QUIET)
      .action((file: string, size: string, flags: ResizeFlags & ProgressFlags) =>
        start(flags, async (context) =>
          (await import('./resize.ts')).imageResize(file, size, flags, context),
        ),
      ),
  );
  add(image, 'snapshot <file>', 'states of the disk, kept inside the image', (one) =>
    one
      .option(...FORMAT)
      .option(...IMAGE_OPTS)
      .option('-l, --list', 'list them')
      .option('-c, --create <name>', 'keep the state of now')
      .option('-a, --apply <which>', 'go back to a state')
      .option('-d, --delete <which>', 'forget a state')
      .option(...SHARED)
      .option(...QUIET)
      .action((file: string, flags: SnapshotFlags & ProgressFlags) =>
        start(flags, async (context) =>
          (await import('./snapshot.ts')).imageSnapshot(file, flags, context),
        ),
      ),
  );
}

function addChains(image: Command, add: AddCommand, start: Start): void {
  add(image, 'commit <file>', "write an image's changes into its backing file", (one) =>
    one
      .option(...FORMAT)
      .option(...IMAGE_OPTS)
      .option('-b, --base <file>', 'into this one of the chain; the image keeps its data')
      .option('-d, --drop', 'the image keeps its data')
      .option(...CACHE)
      .option(...RATE)
      .option(...PROGRESS)
      .option(...QUIET)
      .action((file: string, flags: CommitFlags & ProgressFlags) =>
        start(flags, async (context) =>
          (await import('./commit.ts')).imageCommit(file, flags, context),
        ),
      ),
  );
  add(image, 'rebase <file>', 'give an image another backing file', (one) =>
    one
      .option(...FORMAT)
      .option(...IMAGE_OPTS)
      .requiredOption('-b, --backing <file>', 'the new one; empty: none')
      .option('-F, --backing-format <name>', "the new one's format")
      .option(
        '-u, --unsafe',
        'change the name alone: both hold the same; or accept a parent that was written to',
      )
      .option(...CACHE)
      .option(...SOURCE_CACHE)
      .option(...PROGRESS)
      .option(...QUIET)
      .option(...SHARED)
      .action((file: string, flags: RebaseFlags & ProgressFlags) =>
        start(flags, async (context) =>
          (await import('./rebase.ts')).imageRebase(file, flags, context),
        ),
      ),
  );
}

function addAmend(image: Command, add: AddCommand, start: Start): void {
  add(image, 'amend [file]', "change an image's options", (one) =>
    one
      .option(...FORMAT)
      .option(...IMAGE_OPTS)
      .requiredOption('-o, --options <list>', 'name=value,…; help lists them', collect)
      .option('--force', 'accepted: nothing that is refused may be forced')
      .option(...CACHE)
      .option(...PROGRESS)
      .option(...QUIET)
      .action((file: string | undefined, flags: AmendFlags & ProgressFlags) =>
        start(flags, async (context) =>
          (await import('./amend.ts')).imageAmend(file, flags, context),
        ),
      ),
  );
}

function addBitmap(image: Command, add: AddCommand, start: Start): void {
  const actions: BitmapAction[] = [];
  // They are carried out in the order in which they are given.
  const noted = (kind: Exclude<BitmapAction['kind'], 'merge'>) => (): true => {
    actions.push({ kind });
    return true;
  };
  add(image, 'bitmap <file> <bitmap>', 'records of what is written, in qcow2', (one) =>
    one
      .option(...FORMAT)
      .option(...IMAGE_OPTS)
      .option('--add', 'make it', noted('add'))
      .option('--remove', 'forget it', noted('remove'))
      .option('--clear', 'nothing has been written', noted('clear'))
      .option('--enable', 'follow what is written', noted('enable'))
      .option('--disable', 'stay as it is', noted('disable'))
      .option('--merge <source>', 'add what this bitmap has', (from) => {
        actions.push({ kind: 'merge', from });
        return from;
      })
      .option('-b, --source-file <file>', 'the image that has the source of --merge')
      .option('-F, --source-format <name>', 'its format')
      .option('-g, --granularity <size>', 'of --add: what a bit stands for')
      .option(...QUIET)
      .action((file: string, name: string, flags: BitmapFlags & ProgressFlags) =>
        start(flags, async (context) =>
          (await import('./bitmap.ts')).imageBitmap(file, name, actions, flags, context),
        ),
      ),
  );
}
