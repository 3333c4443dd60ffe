// disk-check DEVICE BYTES REQUESTS SEED: reads and writes of random places and lengths, many at once, with flushes between,
// and looks whether each read, and in the end the whole disk, has what was written last. Prints a hash of the disk.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SECTOR = 512, LANES = 12, MOST_SECTORS = 640, PAGE = 4096 };

/** Each lane owns a part of the disk, so that its requests have an order. */
struct lane {
  struct iocb request;
  char *buffer;
  uint64_t first, count;
  int busy;
};

static int fd;
static const char *device;
static uint64_t state;
/** How often each sector has been written. */
static uint32_t *generations;
static struct lane lanes[LANES];
static aio_context_t context;

static void fail(const char *what, uint64_t sector) {
  printf("%s: %s at sector %llu\n", device, what, (unsigned long long)sector);
  exit(1);
}

static uint64_t below(uint64_t limit) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state % limit;
}

/** Sectors that were never written are zeros. */
static uint64_t word(uint64_t sector, unsigned index) {
  uint64_t generation = generations[sector];
  return generation == 0 ? 0 : (sector * 0x9e3779b97f4a7c15 ^ generation << 40) + index;
}

static void fill(uint64_t *words, uint64_t sector) {
  for (unsigned i = 0; i < SECTOR / 8; i++) words[i] = word(sector, i);
}

static void check(const uint64_t *words, uint64_t sector) {
  for (unsigned i = 0; i < SECTOR / 8; i++)
    if (words[i] != word(sector, i)) fail("other data than was written", sector);
}

static void begin(struct lane *lane, uint64_t sectors) {
  uint64_t most = below(8) == 0 ? MOST_SECTORS : 24;
  uint64_t count = 1 + below(most);
  if (count > sectors) count = sectors;
  lane->first = (lane - lanes) * sectors + below(sectors - count + 1);
  lane->count = count;
  lane->busy = 1;
  int writes = below(3) != 0;
  // Not always at the beginning of a page: then the request has odd pieces.
  char *at = lane->buffer + below(8) * SECTOR;
  if (writes)
    for (uint64_t i = 0; i < count; i++) {
      generations[lane->first + i]++;
      fill((uint64_t *)(at + i * SECTOR), lane->first + i);
    }
  else
    memset(at, 0xee, count * SECTOR);
  struct iocb request = {
      .aio_data = lane - lanes,
      .aio_lio_opcode = writes ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD,
      .aio_fildes = fd,
      .aio_buf = (uintptr_t)at,
      .aio_nbytes = count * SECTOR,
      .aio_offset = lane->first * SECTOR,
  };
  lane->request = request;
  struct iocb *one = &lane->request;
  if (syscall(SYS_io_submit, context, 1L, &one) != 1) fail("io_submit", lane->first);
}

static unsigned reap(long least) {
  struct io_event events[LANES];
  long got = syscall(SYS_io_getevents, context, least, (long)LANES, events, NULL);
  for (long i = 0; i < got; i++) {
    struct lane *lane = &lanes[events[i].data];
    if (events[i].res != (long long)lane->request.aio_nbytes) fail("an error", lane->first);
    if (lane->request.aio_lio_opcode == IOCB_CMD_PREAD)
      for (uint64_t s = 0; s < lane->count; s++)
        check((uint64_t *)(uintptr_t)(lane->request.aio_buf + s * SECTOR), lane->first + s);
    lane->busy = 0;
  }
  return got > 0 ? got : 0;
}

int main(int argc, char **argv) {
  if (argc != 5 || (fd = open(device = argv[1], O_RDWR | O_DIRECT)) < 0) return 2;
  uint64_t total = strtoull(argv[2], NULL, 10) / SECTOR;
  uint64_t left = strtoull(argv[3], NULL, 10);
  state = strtoull(argv[4], NULL, 10);
  generations = calloc(total, sizeof *generations);
  for (unsigned i = 0; i < LANES; i++)
    if (posix_memalign((void **)&lanes[i].buffer, PAGE, MOST_SECTORS * SECTOR + PAGE) != 0) return 2;
  if (syscall(SYS_io_setup, LANES, &context) != 0) return 2;

  unsigned busy = 0;
  while (left > 0 || busy > 0) {
    struct lane *lane = &lanes[below(LANES)];
    if (left > 0 && !lane->busy) {
      begin(lane, total / LANES);
      busy++;
      left--;
    } else {
      busy -= reap(left > 0 ? 0 : 1);
    }
    if (left % 97 == 96 && fdatasync(fd) != 0) fail("a failed flush", 0);
  }
  if (fsync(fd) != 0) fail("a failed flush", 0);

  uint64_t hash = 0xcbf29ce484222325;
  uint64_t *words = (uint64_t *)lanes[0].buffer;
  for (uint64_t sector = 0; sector < total; sector += 128) {
    if (pread(fd, words, 128 * SECTOR, sector * SECTOR) != 128 * SECTOR) fail("an error", sector);
    for (unsigned i = 0; i < 128; i++) check(words + i * SECTOR / 8, sector + i);
    for (unsigned i = 0; i < 128 * SECTOR / 8; i++) hash = (hash ^ words[i]) * 0x100000001b3;
  }
  printf("%s: right %016llx\n", device, (unsigned long long)hash);
  return 0;
}
