/** What a function of `node:fs` calls at its end: with an error, or with what it found. */
type Done<T> = (error: Error | null, result: T) => void;

/** A call of `node:fs` that runs on a thread of libuv, as a promise: `node:fs/promises` takes 5 ms to load. */
export function promised<T>(call: (done: Done<T>) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    call((error, result) => {
      if (error === null) resolve(result);
      else reject(error);
    });
  });
}
