/**
 * `loglevel=6` leaves out what the kernel calls informational, two thirds of its messages, and still shows that it is
 * getting on.
 */
export const DEFAULT_GUEST_APPEND = 'console=ttyS0 loglevel=6';
