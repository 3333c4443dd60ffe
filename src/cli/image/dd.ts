import { RequestError } from '#base/errors.ts';
import { copyHost } from '#storage/node/copy-host.ts';
import { formatNamed, openImage } from '#storage/open.ts';
import { concatenated, window } from '#storage/ops/concat.ts';
import { copyDisk } from '#storage/ops/copy.ts';
import { createImage } from '#storage/ops/create.ts';
import { closeAll, type ImageContext, openNamed, STATUS_OK, warn } from './context.ts';
import { sizeFlag } from './flags.ts';
import { checkCreatable, withStaging } from './new-image.ts';

export interface DdFlags {
  readonly format?: string;
  readonly targetFormat: string;
}

const OPERANDS = ['if', 'of', 'bs', 'count', 'skip'] as const;
type Operand = (typeof OPERANDS)[number];

/** `ring0 image dd`: a part of a disk, by blocks. */
export async function imageDd(
  words: readonly string[],
  flags: DdFlags,
  context: ImageContext,
): Promise<number> {
  const given = parseOperands(words);
  const [from, to] = [given.get('if'), given.get('of')];
  if (from === undefined || to === undefined)
    throw new RequestError('both if=FILE and of=FILE are needed');
  const blockBytes = sizeFlag(given.get('bs')) ?? 512;
  if (blockBytes === 0 || blockBytes > 2 ** 31 - 1)
    throw new RequestError('bs: give from 1 to 2147483647 bytes');
  const skip = (sizeFlag(given.get('skip')) ?? 0) * blockBytes;
  const count = sizeFlag(given.get('count'));
  if (skip % 512 !== 0) throw new RequestError('skip times bs is no whole sector of 512 bytes');
  const format = await formatNamed(flags.targetFormat);
  checkCreatable(format);
  const image = await openNamed(from, context, { format: flags.format });
  try {
    const most = count === undefined ? Number.MAX_SAFE_INTEGER : count * blockBytes;
    if (skip > image.sizeBytes)
      warn(context, `${from}: is shorter than what is skipped; the copy is empty`);
    const source = window(concatenated([image]), skip, most);
    context.progress.start(source.sizeBytes);
    await withStaging(true, new Map(), async (host) => {
      await createImage(to, host, format, { sizeBytes: source.sizeBytes, options: new Map() });
      const target = await openImage(to, host, { format: format.name });
      try {
        await copyDisk({
          source,
          target,
          sparseBytes: 4096,
          targetIsZero: true,
          host: copyHost,
          signal: context.signal,
          onProgress: (bytes) => context.progress.add(bytes),
        });
      } finally {
        await closeAll([target]);
      }
    });
    context.progress.end();
    return STATUS_OK;
  } finally {
    await closeAll([image]);
  }
}

function parseOperands(words: readonly string[]): Map<Operand, string> {
  const given = new Map<Operand, string>();
  for (const word of words) {
    const equals = word.indexOf('=');
    const name = OPERANDS.find((one) => one === word.slice(0, Math.max(0, equals)));
    if (name === undefined)
      throw new RequestError(`'${word}' is not understood; give ${OPERANDS.join('=, ')}=`);
    given.set(name, word.slice(equals + 1));
  }
  return given;
}
