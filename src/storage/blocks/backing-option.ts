import { type CreateOption, type CreateRequest, ImageError } from '../image.ts';

/** The option of formats whose images differ from others of the same format only. */
export function backingFileOption(format: string): CreateOption {
  return { name: 'backing_file', type: 'text', about: `the ${format} image to differ from` };
}

/** The backing file's name. @throws {ImageError} `bad-option` when it is said to be of another format. */
export function backingOption(
  { options }: CreateRequest,
  names: readonly string[],
): string | undefined {
  const file = options.get('backing_file');
  const format = options.get('backing_fmt');
  if (file !== undefined && format !== undefined && !names.includes(String(format)))
    throw new ImageError(
      'bad-option',
      `backing_fmt: ${names[0]} images differ from ${names[0]} images only, not from ${format}; use qcow2 to differ from that`,
    );
  return file === undefined ? undefined : String(file);
}
