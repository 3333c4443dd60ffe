/** The user gave something that cannot be booted. The message names what is wrong and what to do, in one line. */
export class BootError extends Error {
  override readonly name = 'BootError';
  readonly kind: 'not-a-kernel' | 'truncated' | 'unsupported' | 'too-large';

  constructor(kind: BootError['kind'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }
}
