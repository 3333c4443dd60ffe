import { latin1Text } from '#base/latin1.ts';
import { Fields } from '../../blocks/fields.ts';
import { FlatMap } from '../../blocks/flat-map.ts';
import { MappedImage } from '../../blocks/mapped-image.ts';
import {
  type HostFile,
  ImageError,
  type ImageFormat,
  type OpenContext,
  SECTOR_BYTES,
} from '../../image.ts';

// ECMA-119: volume descriptors start at sector 16 of 2048 bytes; 8.4, the primary one.
const CD_SECTOR_BYTES = 2048;
const DESCRIPTOR_AT = 16 * CD_SECTOR_BYTES;
const IDENTIFIER = 'CD001';
const TYPE_PRIMARY = 1;
const V_VOLUME_ID = 40;
const VOLUME_ID_BYTES = 32;
const V_SPACE_SIZE = 80;

function isVolume(descriptor: Uint8Array): boolean {
  return latin1Text(descriptor.subarray(1, 6)) === IDENTIFIER;
}

async function openIso(file: HostFile, { readOnly }: OpenContext): Promise<MappedImage> {
  const { path } = file;
  const descriptor = new Uint8Array(CD_SECTOR_BYTES);
  const count = await file.read(DESCRIPTOR_AT, descriptor);
  const fields = new Fields(descriptor, { path, offsetBytes: DESCRIPTOR_AT, littleEndian: true });
  if (!isVolume(descriptor))
    throw fields.bad('bad-format', 0, 'not an ISO 9660 image: no volume descriptor is here');
  if (!readOnly)
    throw new ImageError('read-only', `${path}: ISO images can only be read; open it read-only`, {
      path,
    });
  const isPrimary = descriptor[0] === TYPE_PRIMARY && count === CD_SECTOR_BYTES;
  const specific = {
    'sector-size': CD_SECTOR_BYTES,
    ...(isPrimary
      ? {
          'volume-id': fields.text(V_VOLUME_ID, VOLUME_ID_BYTES).trimEnd(),
          'volume-size': fields.u32(V_SPACE_SIZE) * CD_SECTOR_BYTES,
        }
      : {}),
  };
  // A file that is cut short within its last sector is read up to there.
  const sizeBytes = Math.ceil((await file.size()) / SECTOR_BYTES) * SECTOR_BYTES;
  const map = new FlatMap(file, { startBytes: 0, sizeBytes, info: { specific } });
  return new MappedImage({ format: 'iso', path, readOnly, backing: undefined, map });
}

/** A CD or DVD: a plain disk of sectors of 2048 bytes, for reading. */
export const iso: ImageFormat = {
  name: 'iso',
  probe: (head) => isVolume(head.subarray(DESCRIPTOR_AT)),
  open: async (file, context) => {
    try {
      return await openIso(file, context);
    } catch (error) {
      await file.close();
      throw error;
    }
  },
  createOptions: [],
};
