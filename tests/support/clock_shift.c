/* Preloaded into a process: its time of day is off, as on a host whose clock is wrong.

   By CLOCK_SHIFT_SECONDS at the start, then by what set_clock_shift says. To shift Python's clock
   alone would not do: grpc reckons deadlines from it, and waits for them by that of C. The kernel's
   clock stays right, so what it is asked to wait for is shifted back. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long shift;

void set_clock_shift(long seconds) { shift = seconds; }

__attribute__((constructor)) static void begin(void) {
    const char *text = getenv("CLOCK_SHIFT_SECONDS");
    if (text)
        shift = atol(text);
}

static int is_shifted(clockid_t clock) {
    return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*next)(clockid_t, struct timespec *);
    if (!next)
        next = dlsym(RTLD_NEXT, "clock_gettime");
    int result = next(clock, now);
    if (result == 0 && is_shifted(clock))
        now->tv_sec += shift;
    return result;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec precise;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out)
        *out = now.tv_sec;
    return now.tv_sec;
}

/* A moment that was reckoned from the clock above; that of a monotonic clock is much smaller. */
static const struct timespec *unshifted(const struct timespec *end, struct timespec *room) {
    if (!end || end->tv_sec < 1000000000)
        return end;
    *room = *end;
    room->tv_sec -= shift;
    return room;
}

int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                           const struct timespec *end) {
    static int (*next)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    struct timespec room;
    if (!next)
        next = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    if (!next)
        next = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    return next(cond, mutex, unshifted(end, &room));
}

/* Waits of grpc and TensorFlow. */
long syscall(long number, ...) {
    static long (*next)(long, ...);
    long a[6];
    struct timespec room;
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    if (!next)
        next = dlsym(RTLD_NEXT, "syscall");
    if (number == SYS_futex && (a[1] & FUTEX_CLOCK_REALTIME))
        a[3] = (long)unshifted((const struct timespec *)a[3], &room);
    return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
