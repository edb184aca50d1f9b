/* The wall clock and the disk of a host, as its daemon is to see them: two numbers in a file say by
 * how many nanoseconds the clock is off, and whether files below a directory take nothing more. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

struct host {
  volatile long long clock;
  volatile long long full;
};

static const struct host *host;
static const char *disk;

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("PUNCTUAL_LAB_CONTROL");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return;
  void *page = mmap(NULL, sizeof *host, PROT_READ, MAP_SHARED, file, 0);
  close(file);
  if (page != MAP_FAILED) host = page;
  disk = getenv("PUNCTUAL_LAB_DISK");
}

static void put_off(struct timespec *time, long long by) {
  long long nanoseconds = time->tv_nsec + by;
  long long seconds = nanoseconds / 1000000000 - (nanoseconds % 1000000000 < 0);
  time->tv_sec += seconds;
  time->tv_nsec = nanoseconds - seconds * 1000000000;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int failed = real(clock, time);
  if (!failed && clock == CLOCK_REALTIME && host) put_off(time, host->clock);
  return failed;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
  (void)zone;
  struct timespec now;
  int failed = clock_gettime(CLOCK_REALTIME, &now);
  if (!failed) *time = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
  return failed;
}

/* The kernel ends a wait by its own clock: a deadline is told it by that. QEMU 7.2 would else hold
 * its lock for an hour where it means a millisecond. */
int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict deadline) {
  static int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
  /* The one of this name with no version has another type of condition. */
  if (!real) real = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
  struct timespec by_kernel = *deadline;
  /* glibc notes there of which clock a condition is. */
  int is_monotonic = condition->__data.__wrefs & 2;
  if (host && !is_monotonic) put_off(&by_kernel, -host->clock);
  return real(condition, mutex, &by_kernel);
}

static int is_full(int file) {
  if (!host || !host->full || !disk) return 0;
  char link[32], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0 || strncmp(path, disk, strlen(disk))) return 0;
  errno = ENOSPC;
  return 1;
}

ssize_t write(int file, const void *bytes, size_t length) {
  static ssize_t (*real)(int, const void *, size_t);
  if (!real) real = dlsym(RTLD_NEXT, "write");
  return is_full(file) ? -1 : real(file, bytes, length);
}

ssize_t pwrite64(int file, const void *bytes, size_t length, off64_t at) {
  static ssize_t (*real)(int, const void *, size_t, off64_t);
  if (!real) real = dlsym(RTLD_NEXT, "pwrite64");
  return is_full(file) ? -1 : real(file, bytes, length, at);
}
