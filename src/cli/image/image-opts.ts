import type { Command } from 'commander';
import { RequestError } from '#base/errors.ts';
import { type ImageName, imageNameText, readImageOptions } from '#storage/image-name.ts';
import { splitList } from '#storage/ops/create.ts';

/**
 * Reads `driver=qcow2,file.filename=disk.img`, qemu-img's --image-opts. A comma within a value is written twice.
 * @throws {RequestError}
 */
export function parseImageOpts(text: string): ImageName {
  const options = splitList(text).map((part) => {
    const equals = part.indexOf('=');
    if (equals < 0) throw bad(`'${part}' has no value`);
    return [part.slice(0, equals), part.slice(equals + 1)] as const;
  });
  return readImageOptions(options, bad);
}

/** Puts file names and formats where a command that was given --image-opts looks for them. */
export function applyImageOpts(command: Command): void {
  const { format } = command.opts<{ format?: string }>();
  if (format !== undefined) throw bad('the driver names the format; leave -f out');
  const [first] = command.processedArgs;
  if (command.name() === 'dd' && Array.isArray(first)) {
    command.processedArgs[0] = first.map((word) => applyToOperand(String(word)));
    return;
  }
  if (Array.isArray(first)) {
    // All that is converted, and not what it is converted to.
    const count = command.name() === 'convert' ? first.length - 1 : first.length;
    const named = first.slice(0, count).map((text) => imageNameText(parseImageOpts(String(text))));
    command.processedArgs[0] = [...named, ...first.slice(count)];
    return;
  }
  for (let index = 0; index < (command.name() === 'compare' ? 2 : 1); index++) {
    const text = command.processedArgs[index];
    if (text === undefined) continue;
    command.processedArgs[index] = imageNameText(parseImageOpts(String(text)));
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
  const named = parseImageOpts(String(files.at(-1)));
  command.processedArgs[0] = [...files.slice(0, -1), imageNameText(named)];
  command.setOptionValue('targetFormat', named.format ?? 'raw');
}

/** `if=driver=qcow2,file.filename=FILE` of `dd`, which has no other file of this form. */
function applyToOperand(word: string): string {
  if (!word.startsWith('if=')) return word;
  return `if=${imageNameText(parseImageOpts(word.slice(3)))}`;
}

function bad(what: string): RequestError {
  return new RequestError(what, 'image-opts');
}
