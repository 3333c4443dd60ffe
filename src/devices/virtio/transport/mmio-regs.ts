// Virtio over MMIO. Source: virtio 1.2, 4.2.2 (version 2), 4.2.4 (the legacy interface, version 1).
export const MAGIC = 0x000;
export const VERSION = 0x004;
export const DEVICE_ID = 0x008;
export const VENDOR_ID = 0x00c;
export const FEATURES = 0x010;
export const FEATURES_SELECT = 0x014;
export const DRIVER_FEATURES = 0x020;
export const DRIVER_FEATURES_SELECT = 0x024;
export const LEGACY_PAGE_SIZE = 0x028;
export const QUEUE_SELECT = 0x030;
export const QUEUE_SIZE_MOST = 0x034;
export const QUEUE_SIZE = 0x038;
export const LEGACY_QUEUE_ALIGN = 0x03c;
export const LEGACY_QUEUE_PAGE = 0x040;
export const QUEUE_READY = 0x044;
export const QUEUE_NOTIFY = 0x050;
export const INTERRUPT_STATUS = 0x060;
export const INTERRUPT_ACK = 0x064;
export const STATUS = 0x070;
/** Low and high half of each; the other two follow at the same distance. */
export const QUEUE_DESC = 0x080;
export const QUEUE_DRIVER = 0x090;
export const QUEUE_DEVICE = 0x0a0;
/** Length and base of a shared memory region: all ones where there is none. */
export const SHARED_MEMORY = 0x0b0;
export const SHARED_MEMORY_END = 0x0c0;
export const CONFIG_GENERATION = 0x0fc;
export const CONFIG = 0x100;
export const MMIO_BYTES = 0x200;

export const MAGIC_VALUE = 0x7472_6976; // "virt"
export const VENDOR_VALUE = 0x474e_4952; // "RING"
export const INTERRUPT_QUEUE = 1;
export const INTERRUPT_CONFIG = 2;
