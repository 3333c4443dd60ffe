import type { PageWrite } from '../../blocks/metadata-cache.ts';
import { randomUuid, UUID_BYTES } from '../../blocks/uuid.ts';
import type { HostFile } from '../../image.ts';
import { type Header, nextHeader } from './header.ts';
import * as v from './layout.ts';
import { makeEntry } from './log.ts';

/** One entry holds so many pages, and the log, of 1 MiB at least, holds it. */
const PAGES_PER_ENTRY = 200;

/**
 * Writes metadata through the log (2.3): a page reaches its place only when the log has it. Each entry stands alone at the
 * log's start, because the one before has been carried out and is not needed any more.
 */
export class LogWriter {
  readonly #file: HostFile;
  #header: Header;
  /** A change of it failed: the file may have it all the same. */
  #isUncertain = false;
  #sequence = 1;

  constructor(file: HostFile, header: Header) {
    this.#file = file;
    this.#header = header;
  }

  /** Says that the file and, unless told otherwise, what the guest sees changes from now on (2.2.2). */
  async start(changesData = true): Promise<void> {
    await this.#setHeader({
      fileWrite: randomUuid(),
      ...(changesData ? { dataWrite: randomUuid() } : {}),
      logGuid: randomUuid(),
    });
  }

  /** Says that the log is empty. */
  async finish(): Promise<void> {
    if (!this.#isEmpty || this.#isUncertain)
      await this.#setHeader({ logGuid: new Uint8Array(UUID_BYTES) });
  }

  get #isEmpty(): boolean {
    return this.#header.logGuid.every((byte) => byte === 0);
  }

  async write(writes: readonly PageWrite[]): Promise<void> {
    // A log that is said to be empty is not looked at.
    if (this.#isEmpty || this.#isUncertain) await this.start();
    let pages = new Map<number, Uint8Array>();
    for (const { offsetBytes, bytes } of writes)
      for (let at = 0; at < bytes.length; at += v.LOG_SECTOR_BYTES) {
        pages.set(offsetBytes + at, bytes.subarray(at, at + v.LOG_SECTOR_BYTES));
        if (pages.size < PAGES_PER_ENTRY) continue;
        await this.#writeEntry(pages);
        pages = new Map();
      }
    if (pages.size > 0) await this.#writeEntry(pages);
  }

  async #writeEntry(pages: ReadonlyMap<number, Uint8Array>): Promise<void> {
    const { logGuid, logOffset } = this.#header;
    const fileBytes = await this.#file.size();
    const entry = makeEntry(pages, { sequence: this.#sequence, logGuid, fileBytes });
    this.#sequence++;
    await this.#file.write(logOffset, entry);
    await this.#file.flush();
    for (const [offset, page] of pages) await this.#file.write(offset, page);
    await this.#file.flush();
  }

  async #setHeader(change: Parameters<typeof nextHeader>[1]): Promise<void> {
    const header = nextHeader(this.#header, change);
    this.#isUncertain = true;
    await this.#file.write(v.HEADER_OFFSETS[header.slot] ?? 0, header.bytes);
    await this.#file.flush();
    this.#header = header;
    this.#isUncertain = false;
  }
}
