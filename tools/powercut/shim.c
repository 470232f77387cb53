/* LD_PRELOAD shim: logs what a process writes to files below $POWERCUT_FOLDER, and when it makes them durable.
 *
 * Record: u32 kind, u32 path length, u64 offset, u64 length, path, data. Kinds: 1 write, 2 sync, 3 set length,
 * 4 rename (data is the new path), 5 unlink, 6 allocate. The log is written with one call per record, so that a
 * kill leaves only whole records or one torn record at the end. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -2;
static const char *folder;

static void record(uint32_t kind, const char *path, uint64_t offset, const void *data, uint64_t length, uint64_t value)
{
    pthread_mutex_lock(&lock);
    if (log_fd == -2) {
        const char *name = getenv("POWERCUT_LOG");
        folder = getenv("POWERCUT_FOLDER");
        log_fd = name && folder ? (int)syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_APPEND | O_CREAT, 0600) : -1;
    }
    if (log_fd >= 0 && strncmp(path, folder, strlen(folder)) == 0) {
        struct { uint32_t kind, path; uint64_t offset, length; } head = {
            kind, (uint32_t)strlen(path), kind == 1 || kind == 6 ? offset : value, data ? length : 0};
        struct iovec parts[3] = {{&head, sizeof head}, {(void *)path, head.path}, {(void *)data, data ? length : 0}};
        syscall(SYS_writev, log_fd, parts, 3);
    }
    pthread_mutex_unlock(&lock);
}

static void by_fd(uint32_t kind, int fd, uint64_t offset, const void *data, uint64_t length, uint64_t value)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n > 0) {
        path[n] = 0;
        record(kind, path, offset, data, length, value);
    }
}

#define NEXT(name) __typeof__(&name) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static ssize_t logged_pwrite(const char *name, int fd, const void *data, size_t length, off_t offset)
{
    ssize_t (*next)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, name);
    ssize_t n = next(fd, data, length, offset);
    if (n > 0) by_fd(1, fd, (uint64_t)offset, data, (uint64_t)n, 0);
    return n;
}
ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) { return logged_pwrite("pwrite", fd, data, length, offset); }
ssize_t pwrite64(int fd, const void *data, size_t length, off_t offset) { return logged_pwrite("pwrite64", fd, data, length, offset); }

ssize_t write(int fd, const void *data, size_t length)
{
    NEXT(write);
    off_t at = fd > 2 ? lseek(fd, 0, SEEK_CUR) : -1;
    ssize_t n = next(fd, data, length);
    if (n > 0 && at >= 0) by_fd(1, fd, (uint64_t)at, data, (uint64_t)n, 0);
    return n;
}

static int synced(const char *name, int fd)
{
    int (*next)(int) = dlsym(RTLD_NEXT, name);
    int result = next(fd);
    if (result == 0) by_fd(2, fd, 0, NULL, 0, 0);
    return result;
}
int fsync(int fd) { return synced("fsync", fd); }
int fdatasync(int fd) { return synced("fdatasync", fd); }

static int cut(const char *name, int fd, off_t length)
{
    int (*next)(int, off_t) = dlsym(RTLD_NEXT, name);
    int result = next(fd, length);
    if (result == 0) by_fd(3, fd, 0, NULL, 0, (uint64_t)length);
    return result;
}
int ftruncate(int fd, off_t length) { return cut("ftruncate", fd, length); }
int ftruncate64(int fd, off_t length) { return cut("ftruncate64", fd, length); }

static int allocated(const char *name, int fd, off_t offset, off_t length)
{
    int (*next)(int, off_t, off_t) = dlsym(RTLD_NEXT, name);
    int result = next(fd, offset, length);
    if (result == 0) by_fd(6, fd, (uint64_t)(offset + length), NULL, 0, 0);
    return result;
}
int posix_fallocate(int fd, off_t offset, off_t length) { return allocated("posix_fallocate", fd, offset, length); }
int posix_fallocate64(int fd, off_t offset, off_t length) { return allocated("posix_fallocate64", fd, offset, length); }

int rename(const char *from, const char *to)
{
    NEXT(rename);
    int result = next(from, to);
    if (result == 0) record(4, from, 0, to, strlen(to), 0);
    return result;
}

int unlink(const char *path)
{
    NEXT(unlink);
    int result = next(path);
    if (result == 0) record(5, path, 0, NULL, 0, 0);
    return result;
}
