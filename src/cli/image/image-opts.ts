import type { Command } from 'commander';
import { RequestError } from '#base/errors.ts';
import { splitList } from '#storage/ops/create.ts';

/** An image that a user named. */
export interface NamedFile {
  readonly file: string;
  readonly format: string | undefined;
}

/** What of an image's options means nothing here, under the names that qemu-img has. */
const IGNORED =
  /^(file\.)?(aio|locking|discard|detect-zeroes|read-only|auto-read-only|force-share|node-name|cache\.(direct|no-flush)|lazy-refcounts|overlap-check|l2-cache-size|refcount-cache-size|cache-size|cache-clean-interval)$/;
/** Drivers of files, not of formats. */
const PROTOCOLS = ['file', 'host_device', 'http', 'https'];

/**
 * Reads `driver=qcow2,file.filename=disk.img`, qemu-img's --image-opts. A comma within a value is written twice.
 * @throws {RequestError}
 */
export function parseImageOpts(text: string): NamedFile {
  const options = new Map<string, string>();
  for (const part of splitList(text)) {
    const equals = part.indexOf('=');
    if (equals < 0) throw bad(`'${part}' has no value`);
    const name = part.slice(0, equals);
    if (!IGNORED.test(name)) options.set(name, part.slice(equals + 1));
  }
  const take = (name: string): string | undefined => {
    const value = options.get(name);
    options.delete(name);
    return value;
  };
  const driver = take('driver') ?? take('file.format');
  const protocol = take('file.driver');
  if (protocol !== undefined && !PROTOCOLS.includes(protocol))
    throw bad(`there is no driver '${protocol}' of files; there are ${PROTOCOLS.join(', ')}`);
  const isPlain = driver !== undefined && PROTOCOLS.includes(driver);
  const file =
    (isPlain ? take('filename') : undefined) ?? take('file.filename') ?? take('file.url');
  const [unknown] = options.keys();
  if (unknown !== undefined)
    throw bad(`'${unknown}' is none of what it may have; give driver and file.filename`);
  if (file === undefined || file === '') throw bad('file.filename is missing; give it');
  return { file, format: isPlain ? 'raw' : driver };
}

/** Puts file names and formats where a command that was given --image-opts looks for them. */
export function applyImageOpts(command: Command): void {
  const { format } = command.opts<{ format?: string }>();
  if (format !== undefined) throw bad('the driver names the format; leave -f out');
  const [first] = command.processedArgs;
  if (command.name() === 'dd' && Array.isArray(first)) {
    command.processedArgs[0] = first.map((word) => applyToOperand(command, String(word)));
    return;
  }
  if (Array.isArray(first)) {
    // All that is converted, and not what it is converted to.
    const count = command.name() === 'convert' ? first.length - 1 : first.length;
    const named = first.slice(0, count).map((text) => parseImageOpts(String(text)));
    if (new Set(named.map((one) => one.format)).size > 1)
      throw bad('files of several formats; name them without it, one format for all or none');
    command.processedArgs[0] = [...named.map(({ file }) => file), ...first.slice(count)];
    command.setOptionValue('format', named[0]?.format);
    return;
  }
  const options = command.name() === 'compare' ? ['format', 'secondFormat'] : ['format'];
  for (const [index, option] of options.entries()) {
    const text = command.processedArgs[index];
    if (text === undefined) continue;
    const named = parseImageOpts(String(text));
    command.processedArgs[index] = named.file;
    command.setOptionValue(option, named.format);
  }
}

/** What `convert -n` writes to. */
export function applyTargetOpts(command: Command): void {
  if (command.opts<{ create?: boolean }>().create !== false)
    throw new RequestError('they name a file that is there; add -n', 'target-image-opts');
  if (command.getOptionValueSource('targetFormat') === 'cli')
    throw new RequestError('the driver names the format; leave -O out', 'target-image-opts');
  const [files] = command.processedArgs;
  if (!Array.isArray(files) || files.length === 0) return;
  const { file, format } = parseImageOpts(String(files.at(-1)));
  command.processedArgs[0] = [...files.slice(0, -1), file];
  command.setOptionValue('targetFormat', format ?? 'raw');
}

/** `if=driver=qcow2,file.filename=FILE` of `dd`, which has no other file of this form. */
function applyToOperand(command: Command, word: string): string {
  if (!word.startsWith('if=')) return word;
  const { file, format } = parseImageOpts(word.slice(3));
  command.setOptionValue('format', format);
  return `if=${file}`;
}

function bad(what: string): RequestError {
  return new RequestError(what, 'image-opts');
}
