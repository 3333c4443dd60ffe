import { backingOption } from '../../blocks/backing-option.ts';
import { Fields } from '../../blocks/fields.ts';
import { fillU32 } from '../../blocks/tables.ts';
import { randomUuid } from '../../blocks/uuid.ts';
import {
  type CreateRequest,
  type HostFile,
  ImageError,
  SECTOR_BYTES,
  type StorageHost,
} from '../../image.ts';
import { checksum, type Footer, makeFooter, readFooter } from './footer.ts';
import { roundedUp } from './geometry.ts';
import * as v from './layout.ts';

const TABLE_OFFSET = v.FOOTER_BYTES + v.DYNAMIC_BYTES;

export interface Plan {
  readonly type: number;
  readonly byGeometry: boolean;
  readonly sizeBytes: number;
  readonly entries: number;
  /** Where parent locators, and then blocks, start. */
  readonly tableEnd: number;
  readonly backing: string | undefined;
}

/** @throws {ImageError} `bad-option`. */
export function planOf(request: CreateRequest): Plan {
  const { sizeBytes: wanted, options } = request;
  const subformat = options.get('subformat') ?? 'dynamic';
  if (subformat !== 'dynamic' && subformat !== 'fixed')
    throw new ImageError('bad-option', `subformat: '${subformat}'; there are dynamic and fixed`);
  const backing = backingOption(request, ['vpc', 'vhd']);
  const isDifferencing = backing !== undefined;
  if (isDifferencing && subformat === 'fixed')
    throw new ImageError('bad-option', 'subformat and backing_file: differencing images grow');
  const byGeometry = options.get('force_size') === false;
  const sizeBytes = byGeometry ? roundedUp(wanted / SECTOR_BYTES) * SECTOR_BYTES : wanted;
  if (sizeBytes > v.MAX_SIZE_BYTES)
    throw new ImageError('bad-option', `VHD images hold at most 2040 GiB; use vhdx for more`);
  const entries = Math.ceil(sizeBytes / v.BLOCK_BYTES);
  const tableEnd = TABLE_OFFSET + Math.ceil((entries * 4) / SECTOR_BYTES) * SECTOR_BYTES;
  const growing = isDifferencing ? v.TYPE_DIFFERENCING : v.TYPE_DYNAMIC;
  const type = subformat === 'fixed' ? v.TYPE_FIXED : growing;
  return { type, byGeometry, sizeBytes, entries, tableEnd, backing };
}

export async function create(
  file: HostFile,
  request: CreateRequest,
  host: StorageHost,
): Promise<void> {
  const plan = planOf(request);
  const footer = makeFooter({
    ...plan,
    dataOffset: plan.type === v.TYPE_FIXED ? undefined : v.FOOTER_BYTES,
    uuid: randomUuid(),
    nowMs: host.nowMs(),
  });
  if (plan.type === v.TYPE_FIXED) await file.write(plan.sizeBytes, footer);
  else await createDynamic(file, plan, footer, host);
  await file.flush();
}

async function createDynamic(
  file: HostFile,
  plan: Plan,
  footer: Uint8Array,
  host: StorageHost,
): Promise<void> {
  const header = new Fields(new Uint8Array(v.DYNAMIC_BYTES), { path: '', littleEndian: false });
  header.setText(0, v.DYNAMIC_COOKIE);
  for (const at of [v.D_DATA_OFFSET, v.D_DATA_OFFSET + 4]) header.setU32(at, v.NOWHERE);
  header.setU64(v.D_TABLE_OFFSET, TABLE_OFFSET);
  header.setU32(v.D_VERSION, v.VERSION_1);
  header.setU32(v.D_ENTRIES, plan.entries);
  header.setU32(v.D_BLOCK_SIZE, v.BLOCK_BYTES);
  const parentName = plan.backing;
  let end = plan.tableEnd;
  if (parentName !== undefined) {
    const parent = await parentFooter(file, parentName, host);
    header.bytes.set(parent.uuid, v.D_PARENT_UUID);
    header.setU32(v.D_PARENT_TIMESTAMP, parent.timestamp);
    end = await writeParentNames(file, header, parentName, end);
  }
  header.setU32(v.D_CHECKSUM, checksum(header.bytes, v.D_CHECKSUM));
  const count = (plan.tableEnd - TABLE_OFFSET) / 4;
  const table = { file, offsetBytes: TABLE_OFFSET, count, littleEndian: false };
  await fillU32(table, () => v.ENTRY_FREE);
  await file.write(end, footer);
  await file.write(v.FOOTER_BYTES, header.bytes);
  await file.write(0, footer);
}

async function parentFooter(file: HostFile, name: string, host: StorageHost): Promise<Footer> {
  const parent = await host.openFile(host.resolve(file.path, name));
  try {
    return await readFooter(parent);
  } finally {
    await parent.close();
  }
}

/** Where the parent is, relative to the image as Windows writes it, and as a URL. */
async function writeParentNames(
  file: HostFile,
  header: Fields,
  name: string,
  startBytes: number,
): Promise<number> {
  const isAbsolute = name.startsWith('/');
  const windows = `${isAbsolute ? '' : '.\\'}${name.replaceAll('/', '\\')}`;
  const locators: [string, Uint8Array][] = [
    [isAbsolute ? 'W2ku' : 'W2ru', utf16(windows, true)],
    ['MacX', new TextEncoder().encode(isAbsolute ? `file://${encodeURI(name)}` : name)],
  ];
  let end = startBytes;
  for (const [index, [platform, bytes]] of locators.entries()) {
    const at = v.D_LOCATORS + index * v.LOCATOR_BYTES;
    const space = Math.ceil(bytes.length / SECTOR_BYTES) * SECTOR_BYTES;
    header.setText(at, platform);
    header.setU32(at + v.L_SPACE, space);
    header.setU32(at + v.L_LENGTH, bytes.length);
    header.setU64(at + v.L_OFFSET, end);
    await file.write(end, bytes);
    end += space;
  }
  const plain = utf16(name.slice(name.lastIndexOf('/') + 1), false);
  header.bytes.set(plain.subarray(0, v.PARENT_NAME_BYTES - 2), v.D_PARENT_NAME);
  return end;
}

function utf16(text: string, littleEndian: boolean): Uint8Array {
  const view = new DataView(new ArrayBuffer(text.length * 2));
  for (let at = 0; at < text.length; at++)
    view.setUint16(at * 2, text.charCodeAt(at), littleEndian);
  return new Uint8Array(view.buffer);
}
