/** Milliseconds of the host's steady clock, from some moment. Node loads `performance` when it is first used, for 2 ms. */
export function nowMs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1000 + nanoseconds / 1e6;
}
