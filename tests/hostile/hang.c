/* Simulates a disk that hangs: open, open64 and statx of a path that contains "/hung" wait while
 * the file that EDGEPASS_HANGS names exists. Loaded before the C library (LD_PRELOAD). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void wait_while_hung(const char *path) {
    const char *flag = getenv("EDGEPASS_HANGS");
    while (flag && path && strstr(path, "/hung") && access(flag, F_OK) == 0) usleep(20000);
}

#define OPEN(name)                                                   \
    int name(const char *path, int flags, ...) {                     \
        static int (*real)(const char *, int, ...);                  \
        if (!real) real = dlsym(RTLD_NEXT, #name);                   \
        va_list more;                                                \
        va_start(more, flags);                                       \
        int mode = va_arg(more, int);                                \
        va_end(more);                                                \
        wait_while_hung(path);                                       \
        return real(path, flags, mode);                              \
    }
OPEN(open)
OPEN(open64)

int statx(int folder, const char *path, int flags, unsigned mask, struct statx *found) {
    static int (*real)(int, const char *, int, unsigned, struct statx *);
    if (!real) real = dlsym(RTLD_NEXT, "statx");
    wait_while_hung(path);
    return real(folder, path, flags, mask, found);
}
