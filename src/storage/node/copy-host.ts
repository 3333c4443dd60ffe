import { nowMs } from '#base/node/now-ms.ts';
import type { CopyHost } from '../ops/copy.ts';
import { sameBytes } from './same-bytes.ts';

export const copyHost: CopyHost = { sameBytes, soon: setImmediate, nowMs };
