/* SPDX-License-Identifier: MIT
 *
 * Callers who press 1, as Asterisk's side of FastAGI plays them: one loop over epoll, so
 * that it costs a server a few per cent of a processor, and none of its own.
 *
 *     door_load PORT AT_ONCE COUNT FIRST QUEUE
 *
 * COUNT callers connect, AT_ONCE of them at the same time: when the connection of one
 * has ended, the next one connects. Each has a number of its own, counted from FIRST.
 * Like res_agi.c, each reads one line, carries it out, answers, and only then reads the
 * next one; whatever comes behind a line waits for further bytes.
 *
 * Prints the microseconds that all took, then one line for each caller: the value of
 * CALLBACK_STATUS that the server has set, FAILURE, or what became of the connection;
 * and the microseconds from connect() until then.
 */

#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES 8192
#define WORD_BYTES 32
#define DEADLINE_US 10000000

struct caller {
	int fd;
	int sent;
	long number;
	int64_t began_us;
	size_t unread;
	char buffer[LINE_BYTES];
};

struct told {
	char word[WORD_BYTES];
	int64_t after_us;
};

static int port, poller;
static const char *queue;
static struct told *told;
static long first, ended;

static int64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void fail(const char *what)
{
	perror(what);
	exit(2);
}

static void tell(struct caller *caller, const char *word, size_t length)
{
	struct told *entry = &told[caller->number];

	if (entry->word[0])
		return;
	if (length >= WORD_BYTES)
		length = WORD_BYTES - 1;
	memcpy(entry->word, word, length);
	entry->after_us = now_us() - caller->began_us;
}

static void begin(struct caller *caller, long number)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	struct epoll_event event = { .events = EPOLLOUT, .data.ptr = caller };

	caller->number = number;
	caller->sent = 0;
	caller->unread = 0;
	caller->began_us = now_us();
	caller->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (caller->fd < 0)
		fail("socket");
	address.sin_port = htons(port);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (connect(caller->fd, (struct sockaddr *) &address, sizeof(address))
			&& errno != EINPROGRESS)
		fail("connect");
	if (epoll_ctl(poller, EPOLL_CTL_ADD, caller->fd, &event))
		fail("epoll_ctl");
}

static void end(struct caller *caller, const char *word)
{
	tell(caller, word, strlen(word));
	close(caller->fd);
	caller->fd = -1;
	ended++;
}

static int send_all(struct caller *caller, const char *data, size_t length)
{
	/* A few hundred bytes always fit into the buffer of a new connection. */
	return send(caller->fd, data, length, MSG_NOSIGNAL) == (ssize_t) length;
}

static int ask(struct caller *caller)
{
	char block[2048];
	long number = first + caller->number;
	int length = snprintf(block, sizeof(block),
		"agi_network: yes\n"
		"agi_network_script: request\n"
		"agi_request: agi://127.0.0.1:%d/request\n"
		"agi_channel: PJSIP/trunk-%08lx\n"
		"agi_language: en\n"
		"agi_type: PJSIP\n"
		"agi_uniqueid: 1795377942.%ld\n"
		"agi_version: 22.10.1\n"
		"agi_callerid: 4930%08ld\n"
		"agi_calleridname: Caller %ld\n"
		"agi_callingpres: 0\n"
		"agi_callingani2: 0\n"
		"agi_callington: 0\n"
		"agi_callingtns: 0\n"
		"agi_dnid: unknown\n"
		"agi_rdnis: unknown\n"
		"agi_context: callback-ask\n"
		"agi_extension: s\n"
		"agi_priority: 3\n"
		"agi_enhanced: 0.0\n"
		"agi_accountcode: \n"
		"agi_threadid: 140129050773184\n"
		"agi_arg_1: %s\n"
		"agi_arg_2: 1\n"
		"agi_arg_3: 1795377942.%ld\n"
		"agi_arg_4: 0\n"
		"agi_arg_5: choices\n"
		"agi_arg_6: 1\n\n",
		port, number, number, number, number, queue, number);

	return send_all(caller, block, length);
}

/* Return the value that a line gives to CALLBACK_STATUS; NULL if it gives none. */
static const char *status_in(const char *line, size_t *length)
{
	static const char name[] = "CALLBACK_STATUS";
	const char *value = strstr(line, name);

	if (!value)
		return NULL;
	value += strlen(name);
	value += strspn(value, " =\"");
	*length = strcspn(value, " ,\"");
	return value;
}

/* Carry out one line; return 0 if the application has ended. */
static int run(struct caller *caller, const char *line)
{
	size_t length = 0;
	const char *value = status_in(line, &length);

	if (!strncasecmp(line, "failure", 7)) {
		tell(caller, "FAILURE", 7);
		return 0;
	}
	if (!strncasecmp(line, "SET VARIABLE ", 13)) {
		if (value)
			tell(caller, value, length);
		return send_all(caller, "200 result=1\n", 13);
	}
	if (!strncasecmp(line, "EXEC MSet ", 10) && value)
		tell(caller, value, length);
	return send_all(caller, "200 result=0\n", 13);
}

/* Read and carry out at most one line; return 0 if the connection has ended. */
static int answer(struct caller *caller)
{
	char *newline;
	size_t length;
	ssize_t got = recv(caller->fd, caller->buffer + caller->unread,
		LINE_BYTES - 1 - caller->unread, 0);
	int alive = 1;

	if (got < 0)
		return errno == EAGAIN;
	caller->unread += got;
	caller->buffer[caller->unread] = '\0';
	newline = strchr(caller->buffer, '\n');
	if (newline) {
		*newline = '\0';
		length = newline + 1 - caller->buffer;
		alive = run(caller, caller->buffer);
		caller->unread -= length;
		memmove(caller->buffer, caller->buffer + length, caller->unread);
		/* The end of the stream, too, makes Asterisk read what is left. */
		return alive;
	}
	return got > 0;
}

static int handle(struct caller *caller)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = caller };

	if (!caller->sent) {
		int error = 0;
		socklen_t size = sizeof(error);

		getsockopt(caller->fd, SOL_SOCKET, SO_ERROR, &error, &size);
		if (error || !ask(caller))
			return 0;
		caller->sent = 1;
		return !epoll_ctl(poller, EPOLL_CTL_MOD, caller->fd, &event);
	}
	return answer(caller);
}

int main(int argc, char **argv)
{
	struct epoll_event events[256];
	struct caller *callers;
	long at_once, count, begun = 0;
	int64_t began_us, took_us;

	if (argc != 6) {
		fprintf(stderr, "usage: door_load PORT AT_ONCE COUNT FIRST QUEUE\n");
		return 2;
	}
	port = atoi(argv[1]);
	at_once = atol(argv[2]);
	count = atol(argv[3]);
	first = atol(argv[4]);
	queue = argv[5];
	callers = calloc(at_once, sizeof(*callers));
	told = calloc(count, sizeof(*told));
	poller = epoll_create1(0);
	if (!callers || !told || poller < 0)
		fail("door_load");
	began_us = now_us();
	while (begun < at_once && begun < count) {
		begin(&callers[begun], begun);
		begun++;
	}
	while (ended < count) {
		int found = epoll_wait(poller, events, 256, 100);
		int64_t late_us = now_us() - DEADLINE_US;

		if (found < 0 && errno != EINTR)
			fail("epoll_wait");
		for (int i = 0; i < found; i++) {
			struct caller *caller = events[i].data.ptr;

			if (handle(caller))
				continue;
			end(caller, caller->sent ? "CLOSED" : "REFUSED");
			if (begun < count)
				begin(caller, begun++);
		}
		for (long i = 0; !found && i < at_once; i++)
			if (callers[i].fd > 0 && callers[i].began_us < late_us) {
				end(&callers[i], "SILENT");
				if (begun < count)
					begin(&callers[i], begun++);
			}
	}
	took_us = now_us() - began_us;
	printf("%ld\n", (long) took_us);
	for (long i = 0; i < count; i++)
		printf("%s %ld\n", told[i].word, (long) told[i].after_us);
	return 0;
}
