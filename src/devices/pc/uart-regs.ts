// 16550 UART. Source: National Semiconductor PC16550D data sheet (1995), tables II to IV.
export const RBR = 0; // read
export const THR = 0; // write
export const DLL = 0; // with LCR_DLAB
export const IER = 1;
export const DLM = 1; // with LCR_DLAB
export const IIR = 2; // read
export const FCR = 2; // write
export const LCR = 3;
export const MCR = 4;
export const LSR = 5;
export const MSR = 6;
export const SCR = 7;

export const IER_DATA = 1 << 0;
export const IER_THR_EMPTY = 1 << 1;
export const IER_LINE_STATUS = 1 << 2;
export const IER_MODEM_STATUS = 1 << 3;
export const IER_WRITABLE = 0x0f;

export const IIR_MODEM_STATUS = 0x0;
export const IIR_NONE = 0x1;
export const IIR_THR_EMPTY = 0x2;
export const IIR_DATA = 0x4;
export const IIR_LINE_STATUS = 0x6;
export const IIR_TIMEOUT = 0xc;
export const IIR_FIFOS = 0xc0;

export const FCR_ENABLE = 1 << 0;
export const FCR_CLEAR_RECEIVER = 1 << 1;
export const FCR_TRIGGER_SHIFT = 6;
export const RECEIVER_TRIGGERS: readonly number[] = [1, 4, 8, 14];
export const FIFO_BYTES = 16;

export const LCR_DLAB = 1 << 7;

export const MCR_DTR = 1 << 0;
export const MCR_RTS = 1 << 1;
export const MCR_OUT1 = 1 << 2;
export const MCR_OUT2 = 1 << 3;
export const MCR_LOOP = 1 << 4;
export const MCR_WRITABLE = 0x1f;

export const LSR_DATA_READY = 1 << 0;
export const LSR_OVERRUN = 1 << 1; // sticky: cleared by reading LSR
export const LSR_THR_EMPTY = 1 << 5;
export const LSR_TRANSMITTER_EMPTY = 1 << 6;

export const MSR_DELTA_RI = 1 << 2; // its trailing edge only
export const MSR_CTS = 1 << 4;
export const MSR_DSR = 1 << 5;
export const MSR_RI = 1 << 6;
export const MSR_DCD = 1 << 7;
export const MSR_LINES = 0xf0;
export const MSR_DELTAS = 0x0f;
