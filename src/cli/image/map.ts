import { RequestError } from '#base/errors.ts';
import { type DiskRun, isData, runsOf } from '#storage/ops/status.ts';
import { print } from '../host.ts';
import { closeAll, type ImageContext, openNamed, STATUS_OK } from './context.ts';
import { sectorsFlag } from './flags.ts';
import { chainOf, fileNameIn } from './names.ts';

export interface MapFlags {
  readonly format?: string;
  readonly output: 'human' | 'json';
  readonly startOffset?: string;
  readonly maxLength?: string;
}

/** `ring0 image map`: where the disk's parts lie. */
export async function imageMap(
  file: string,
  flags: MapFlags,
  context: ImageContext,
): Promise<number> {
  const start = sectorsFlag(flags.startOffset ?? '0', 'start-offset');
  const most =
    flags.maxLength === undefined
      ? Number.MAX_SAFE_INTEGER
      : sectorsFlag(flags.maxLength, 'max-length');
  const image = await openNamed(file, context, { format: flags.format });
  try {
    const chain = await chainOf(image, file);
    const end = Math.min(image.sizeBytes, start + most);
    if (flags.output === 'human')
      print(context.host, 'Offset          Length          Mapped to       File\n');
    let separator = '[';
    for await (const run of runsOf(image, start, end)) {
      context.signal.throwIfAborted();
      const { offsetBytes, lengthBytes, kind, hostOffsetBytes } = run;
      if (flags.output === 'json') {
        print(context.host, `${separator}${jsonOf(run)}`);
        separator = ',\n';
      } else if (kind === 'data') {
        if (hostOffsetBytes === undefined)
          throw new RequestError(
            `${file}: at ${offsetBytes} it is compressed, which has no place in the file; use --output json`,
          );
        const name = fileNameIn(chain, run);
        print(
          context.host,
          `${hex(offsetBytes)}${hex(lengthBytes)}${hex(hostOffsetBytes)}${name}\n`,
        );
      }
    }
    // As qemu-img, which tells of the end of an empty disk.
    const none = `[{ "start": ${start}, "length": 0, "depth": 0, "present": false, "zero": false, "data": false}`;
    if (flags.output === 'json') print(context.host, `${separator === '[' ? none : ''}]\n`);
    return STATUS_OK;
  } finally {
    await closeAll([image]);
  }
}

function jsonOf(run: DiskRun): string {
  const { offsetBytes, lengthBytes, depth, present, kind, hostOffsetBytes } = run;
  const place = hostOffsetBytes === undefined ? '' : `, "offset": ${hostOffsetBytes}`;
  return `{ "start": ${offsetBytes}, "length": ${lengthBytes}, "depth": ${depth}, "present": ${present}, "zero": ${kind === 'zero'}, "data": ${isData(run)}${place}}`;
}

/** C's `%#-16x`, which gives 0 no prefix. */
function hex(value: number): string {
  return (value === 0 ? '0' : `0x${value.toString(16)}`).padEnd(16);
}
