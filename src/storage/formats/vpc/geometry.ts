import { MAX_CHS_SECTORS } from './layout.ts';

export interface Geometry {
  readonly cylinders: number;
  readonly heads: number;
  readonly sectors: number;
}

/** Cylinders, heads and sectors that hold at most `totalSectors` (VHD specification, appendix: CHS calculation). */
export function geometryOf(totalSectors: number): Geometry {
  const total = Math.min(totalSectors, MAX_CHS_SECTORS);
  let [sectors, heads] = [255, 16];
  let tracks = Math.floor(total / sectors);
  if (total < 65535 * 16 * 63) {
    sectors = 17;
    tracks = Math.floor(total / sectors);
    heads = Math.max(4, Math.ceil(tracks / 1024));
    if (tracks >= heads * 1024 || heads > 16) [sectors, heads] = [31, 16];
    tracks = Math.floor(total / sectors);
    if (tracks >= heads * 1024) [sectors, heads] = [63, 16];
    tracks = Math.floor(total / sectors);
  }
  return { cylinders: Math.floor(tracks / heads), heads, sectors };
}

export function sectorsIn({ cylinders, heads, sectors }: Geometry): number {
  return cylinders * heads * sectors;
}

/** The smallest disk of at least `totalSectors` that a geometry says exactly. */
export function roundedUp(totalSectors: number): number {
  if (totalSectors >= MAX_CHS_SECTORS) return totalSectors;
  let wanted = totalSectors;
  while (sectorsIn(geometryOf(wanted)) < totalSectors) wanted++;
  return sectorsIn(geometryOf(wanted));
}
