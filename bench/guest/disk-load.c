// Requests to a disk past the page cache of the guest, one at a time or many at once:
//   disk-load DEVICE read|write sequential|random BYTES COUNT DEPTH SPAN
// SPAN is how much of the device is used, in bytes. `disk-load DEVICE sum SPAN` prints a sum of what lies there.

#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOST_DEPTH 64
#define SUM_BYTES (1 << 20)

static int fd;

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static uint64_t state = 88172645463325252ull;

static uint64_t next_random(void) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

static void *aligned(size_t bytes) {
  void *memory;
  if (posix_memalign(&memory, 4096, bytes) != 0) fail("memory");
  memset(memory, 0, bytes);
  return memory;
}

/** Each page tells where it lies, and in which request it was written where these have an order. */
static void fill(char *buffer, size_t bytes, uint64_t offset, uint64_t count) {
  for (size_t at = 0; at < bytes; at += 4096) {
    uint64_t *page = (uint64_t *)(buffer + at);
    page[0] = offset + at;
    page[511] = count;
  }
}

static void print_sum(uint64_t span) {
  uint64_t *buffer = aligned(SUM_BYTES);
  uint64_t sum = 0;
  for (uint64_t offset = 0; offset < span; offset += SUM_BYTES) {
    if (pread(fd, buffer, SUM_BYTES, offset) != SUM_BYTES) fail("read");
    for (size_t i = 0; i < SUM_BYTES / 8; i += 73) sum = sum * 31 + buffer[i];
  }
  printf("%016llx\n", (unsigned long long)sum);
}

int main(int argc, char **argv) {
  if (argc < 4 || (fd = open(argv[1], O_RDWR | O_DIRECT)) < 0) fail("open");
  if (strcmp(argv[2], "sum") == 0) {
    print_sum(strtoull(argv[3], NULL, 10));
    return 0;
  }
  if (argc != 8) return 2;
  int writes = strcmp(argv[2], "write") == 0;
  int random = strcmp(argv[3], "random") == 0;
  size_t bytes = strtoul(argv[4], NULL, 10);
  uint64_t count = strtoull(argv[5], NULL, 10);
  unsigned depth = strtoul(argv[6], NULL, 10);
  uint64_t places = strtoull(argv[7], NULL, 10) / bytes;
  if (depth < 1 || depth > MOST_DEPTH || places == 0) return 2;

  char *buffers = aligned(bytes * depth);
  if (depth == 1) {
    for (uint64_t i = 0; i < count; i++) {
      uint64_t offset = (random ? next_random() : i) % places * bytes;
      if (writes) fill(buffers, bytes, offset, i);
      ssize_t done = writes ? pwrite(fd, buffers, bytes, offset) : pread(fd, buffers, bytes, offset);
      if (done != (ssize_t)bytes) fail(argv[2]);
    }
    return 0;
  }

  static struct iocb blocks[MOST_DEPTH];
  struct io_event events[MOST_DEPTH];
  aio_context_t context = 0;
  if (syscall(SYS_io_setup, MOST_DEPTH, &context) != 0) fail("io_setup");
  unsigned idle[MOST_DEPTH];
  unsigned idles = depth;
  for (unsigned i = 0; i < depth; i++) idle[i] = i;
  for (uint64_t begun = 0, ended = 0; ended < count;) {
    struct iocb *batch[MOST_DEPTH];
    unsigned size = 0;
    while (idles > 0 && begun < count) {
      unsigned slot = idle[--idles];
      uint64_t offset = (random ? next_random() : begun) % places * bytes;
      char *buffer = buffers + slot * bytes;
      if (writes) fill(buffer, bytes, offset, 0);
      struct iocb block = {
          .aio_data = slot,
          .aio_lio_opcode = writes ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD,
          .aio_fildes = fd,
          .aio_buf = (uintptr_t)buffer,
          .aio_nbytes = bytes,
          .aio_offset = offset,
      };
      blocks[slot] = block;
      batch[size++] = &blocks[slot];
      begun++;
    }
    if (size > 0 && syscall(SYS_io_submit, context, size, batch) != (long)size) fail("io_submit");
    long got = syscall(SYS_io_getevents, context, 1, MOST_DEPTH, events, NULL);
    if (got < 1) fail("io_getevents");
    for (long i = 0; i < got; i++) {
      if (events[i].res != (long long)bytes) fail(argv[2]);
      idle[idles++] = events[i].data;
    }
    ended += got;
  }
  return 0;
}
