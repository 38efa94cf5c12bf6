/* SPDX-License-Identifier: MIT
 *
 * A slower disk, for one process (LD_PRELOAD): each fsync() and fdatasync() takes
 * SYNC_DELAY_US microseconds more, and is counted in the file SYNC_COUNT, if there is
 * one: eight bytes, a number in the machine's own order.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static uint64_t not_counted, *count = &not_counted;
static struct timespec delay;

__attribute__((constructor)) static void prepare(void)
{
	const char *path = getenv("SYNC_COUNT"), *given = getenv("SYNC_DELAY_US");
	long delay_us = given ? atol(given) : 0;
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;

	delay.tv_sec = delay_us / 1000000;
	delay.tv_nsec = delay_us % 1000000 * 1000;
	if (fd >= 0) {
		void *mapped = mmap(NULL, sizeof(*count), PROT_READ | PROT_WRITE,
			MAP_SHARED, fd, 0);

		if (mapped != MAP_FAILED)
			count = mapped;
		close(fd);
	}
}

static int slowly(const char *name, int fd)
{
	int (*really)(int) = (int (*)(int)) dlsym(RTLD_NEXT, name);

	__atomic_add_fetch(count, 1, __ATOMIC_RELAXED);
	if (delay.tv_sec || delay.tv_nsec)
		nanosleep(&delay, NULL);
	return really(fd);
}

int fsync(int fd)
{
	return slowly("fsync", fd);
}

int fdatasync(int fd)
{
	return slowly("fdatasync", fd);
}
