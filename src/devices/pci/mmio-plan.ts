/** What the vCPU's side must know of a device on the device thread whose registers lie at an address of the board's. */
export interface MmioPlan {
  /** What traces call it. */
  readonly name: string;
  readonly mmioBytes: number;
  /** A register that ends an interrupt: a write to it has been done when the guest goes on. */
  readonly awaited: number;
}
