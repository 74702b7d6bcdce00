/* Counts the syncs to disk of a process, and can make each last longer. Loaded before the C library
 * (LD_PRELOAD). EDGEPASS_SYNCS names a file of eight bytes, which holds the count; EDGEPASS_SYNC_DELAY is
 * a time in microseconds. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static _Atomic uint64_t *count;
static useconds_t delay;

__attribute__((constructor)) static void start(void) {
    const char *file = getenv("EDGEPASS_SYNCS"), *time = getenv("EDGEPASS_SYNC_DELAY");
    if (time) delay = (useconds_t)atoi(time);
    if (!file) return;
    int open_file = open(file, O_RDWR);
    if (open_file < 0) return;
    void *page = mmap(NULL, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED, open_file, 0);
    if (page != MAP_FAILED) count = page;
    close(open_file);
}

#define SYNC(name)                                             \
    int name(int file) {                                       \
        static int (*real)(int);                               \
        if (!real) real = dlsym(RTLD_NEXT, #name);             \
        if (count) atomic_fetch_add(count, 1);                 \
        if (delay) usleep(delay);                              \
        return real(file);                                     \
    }
SYNC(fsync)
SYNC(fdatasync)
