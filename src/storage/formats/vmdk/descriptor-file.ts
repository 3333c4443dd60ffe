import { type HostFile, ImageError, type StorageHost } from '../../image.ts';
import { type NewEnd, resizedDescriptor } from './descriptor.ts';
import { type Located, readDescriptor, readIdentity } from './parent.ts';

/** The descriptor of an open disk, in a file of its own or within the sparse one. */
export class DescriptorFile {
  readonly #files: HostFile[];
  readonly #host: StorageHost;
  #located: Located;
  /** Of the descriptor within the sparse file: what it was before it was changed, to be taken back. */
  #before: Uint8Array | undefined;
  /** A change of it failed, or does not hold: it may have been written all the same. */
  #isWrong = false;

  /** `files` are the disk's, that with the descriptor first: a new one takes its place there. */
  constructor(files: HostFile[], located: Located, host: StorageHost) {
    this.#files = files;
    this.#located = located;
    this.#host = host;
  }

  /** Images that differ from this one know by its identifier that it has changed. */
  async changeId(): Promise<void> {
    const { descriptor, offsetBytes } = this.#located;
    const value = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
    const cid = Math.min(value, 0xffff_fffe).toString(16);
    await this.#setId(descriptor.cid, offsetBytes + descriptor.cidAt, cid);
  }

  /** Says that the parent as it is now is the one that this image differs from. */
  async adoptParent(): Promise<void> {
    const [file] = this.#files;
    const { descriptor, offsetBytes } = this.#located;
    const { parentCid, parentCidAt, parentName } = descriptor;
    if (file === undefined || parentCid === undefined || parentName === undefined) return;
    const { cid } = await readIdentity(file, parentName, this.#host);
    await this.#setId(parentCid, offsetBytes + parentCidAt, cid);
    await file.flush();
  }

  /** Only over one of the usual length: what follows it stays where it is. */
  async #setId(old: string, at: number, id: string): Promise<void> {
    if (old.length !== 8) return;
    await this.#files[0]?.write(at, new TextEncoder().encode(id.padStart(8, '0')));
  }

  /** What `setSize` wrote does not hold. */
  takeBack(): void {
    this.#isWrong = true;
  }

  /** Writes what does not hold over again. */
  async settle(): Promise<void> {
    if (this.#isWrong && this.#before !== undefined)
      await this.#files[0]?.write(this.#located.offsetBytes, this.#before);
    this.#isWrong = false;
  }

  /**
   * Other programs go by the extents' lines, and some by the geometry. When it fails the descriptor is as it was; what it
   * resolves with makes that of now durable.
   */
  async setSize(sizeBytes: number, end: NewEnd): Promise<() => Promise<void>> {
    const [file] = this.#files;
    if (file === undefined) return async () => {};
    await this.settle();
    const { offsetBytes, lengthBytes } = this.#located;
    const old = new Uint8Array(lengthBytes);
    await file.read(offsetBytes, old);
    const text = new TextDecoder('latin1').decode(old).replace(/\0.*$/s, '');
    const changed = resizedDescriptor(text, sizeBytes, end);
    const bytes = Uint8Array.from(changed, (char) => char.charCodeAt(0));
    if (offsetBytes === 0) {
      // A text of several sectors would tear.
      const { file: next, settle } = await this.#host.replace(file.path, bytes);
      this.#files[0] = next;
      return async () => {
        await file.close();
        this.#located = await readDescriptor(next);
        await settle();
      };
    }
    if (bytes.length > lengthBytes)
      throw new ImageError('no-space', `${file.path}: its descriptor has no room; convert it`, {
        path: file.path,
      });
    const padded = new Uint8Array(lengthBytes);
    padded.set(bytes);
    this.#before = old;
    this.#isWrong = true;
    await file.write(offsetBytes, padded);
    this.#isWrong = false;
    return () => file.flush();
  }
}
