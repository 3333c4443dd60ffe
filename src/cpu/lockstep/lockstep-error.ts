/** Translated code and the interpreter have come to different results: we erred, in one of them. */
export class LockstepError extends Error {
  override readonly name = 'LockstepError';
}
