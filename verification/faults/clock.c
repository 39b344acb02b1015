/* Gives a process another time of day: preloaded, it moves CLOCK_REALTIME by CLOCK_SHIFT seconds and lets it run
 * CLOCK_RATE times as fast. The monotonic clock, by which everything waits, stays as it is.
 *
 * libfaketime would do it too, but with the monotonic clock left alone it breaks clock_nanosleep, and so the
 * time.sleep of Python 3.11 and newer (EINVAL, seen with 0.9.10).
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static double shift, rate = 1.0, loaded_at;

static double now(void)
{
    struct timespec real;
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &real);
    return real.tv_sec + real.tv_nsec / 1e9;
}

__attribute__((constructor)) static void load(void)
{
    shift = getenv("CLOCK_SHIFT") ? atof(getenv("CLOCK_SHIFT")) : 0.0;
    rate = getenv("CLOCK_RATE") ? atof(getenv("CLOCK_RATE")) : 1.0;
    loaded_at = now();
}

static double wrong(void)
{
    double real = now();
    return real + shift + (real - loaded_at) * (rate - 1.0);
}

int clock_gettime(clockid_t id, struct timespec *out)
{
    if (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE)
        return syscall(SYS_clock_gettime, id, out);
    double at = wrong();
    out->tv_sec = (time_t)at;
    out->tv_nsec = (long)((at - (double)out->tv_sec) * 1e9);
    return 0;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone)
{
    double at = wrong();
    (void)zone;
    out->tv_sec = (time_t)at;
    out->tv_usec = (suseconds_t)((at - (double)out->tv_sec) * 1e6);
    return 0;
}

time_t time(time_t *out)
{
    time_t at = (time_t)wrong();
    if (out)
        *out = at;
    return at;
}
