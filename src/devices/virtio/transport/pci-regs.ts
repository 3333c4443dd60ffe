// Virtio over PCI. Source: virtio 1.2, 4.1.2 (identifiers), 4.1.4 (structures), 4.1.4.10 (legacy interface).
export const VENDOR_ID = 0x1af4;
export const MODERN_IDS = 0x1040;
export const MODERN_SUBSYSTEM = 0x1100;
/** By device ID. */
export const TRANSITIONAL_IDS: ReadonlyMap<number, number> = new Map([
  [1, 0x1000], // network
  [2, 0x1001], // block
  [8, 0x1004], // SCSI host
]);

export const CAP_VENDOR = 0x09;
export const VIRTIO_CAP_COMMON = 1;
export const VIRTIO_CAP_NOTIFY = 2;
export const VIRTIO_CAP_ISR = 3;
export const VIRTIO_CAP_DEVICE = 4;

// Where they lie in their BAR: the common configuration first.
export const ISR_OFFSET = 0x1000;
export const DEVICE_OFFSET = 0x2000;
export const NOTIFY_OFFSET = 0x3000;
export const MODERN_BAR_BYTES = 0x4000;
export const NOTIFY_MULTIPLIER = 4;

export const ISR_QUEUE = 1;
export const ISR_CONFIG = 2;

export const COMMON_FEATURE_SELECT = 0x00;
export const COMMON_FEATURE = 0x04;
export const COMMON_DRIVER_FEATURE_SELECT = 0x08;
export const COMMON_DRIVER_FEATURE = 0x0c;
export const COMMON_CONFIG_VECTOR = 0x10;
export const COMMON_QUEUES = 0x12;
export const COMMON_STATUS = 0x14;
export const COMMON_GENERATION = 0x15;
export const COMMON_QUEUE_SELECT = 0x16;
export const COMMON_QUEUE_SIZE = 0x18;
export const COMMON_QUEUE_VECTOR = 0x1a;
export const COMMON_QUEUE_ENABLE = 0x1c;
export const COMMON_QUEUE_NOTIFY = 0x1e;
export const COMMON_QUEUE_ADDRESSES = 0x20; // six words

export const LEGACY_BAR_BYTES = 128;
export const LEGACY_FEATURES = 0;
export const LEGACY_DRIVER_FEATURES = 4;
export const LEGACY_QUEUE_PAGE = 8;
export const LEGACY_QUEUE_SIZE = 12;
export const LEGACY_QUEUE_SELECT = 14;
export const LEGACY_NOTIFY = 16;
export const LEGACY_STATUS = 18;
export const LEGACY_ISR = 19;
export const LEGACY_CONFIG_VECTOR = 20; // this and the next only with MSI-X enabled
export const LEGACY_QUEUE_VECTOR = 22;
export const LEGACY_CONFIG = 20;
export const LEGACY_CONFIG_MSIX = 24;
