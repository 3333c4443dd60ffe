/** The user gave something that cannot be booted. The message names what is wrong and what to do, in one line. */
export class BootError extends Error {
  override readonly name = 'BootError';
  readonly kind: 'not-a-kernel' | 'truncated' | 'unsupported' | 'too-large';
  /** What is at fault where it is not the kernel itself. */
  readonly field: 'append' | 'cpu' | 'initrd' | 'memory' | 'module' | undefined;

  constructor(
    kind: BootError['kind'],
    message: string,
    options?: ErrorOptions & { readonly field?: BootError['field'] },
  ) {
    super(message, options);
    this.kind = kind;
    this.field = options?.field;
  }
}
