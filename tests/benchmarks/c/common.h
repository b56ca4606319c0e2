/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * What the C programs of the benchmarks share: the cost of an item printed as the Python units do, connected sockets, and
 * the functions of tsocket that are used, as Debian's package of development files for talloc and tevent has no header of
 * it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <talloc.h>
#include <tevent.h>

struct tstream_context;
struct tdgram_context;
struct tsocket_address;

typedef int (*tstream_readv_pdu_next_vector_t)(struct tstream_context *stream, void *private_data, TALLOC_CTX *mem_ctx,
					       struct iovec **vector, size_t *count);

int _tstream_bsd_existing_socket(TALLOC_CTX *mem_ctx, int fd, struct tstream_context **stream, const char *location);
struct tevent_req *tstream_readv_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev, struct tstream_context *stream,
				      struct iovec *vector, size_t count);
int tstream_readv_recv(struct tevent_req *req, int *perrno);
struct tevent_req *tstream_writev_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev, struct tstream_context *stream,
				       const struct iovec *vector, size_t count);
int tstream_writev_recv(struct tevent_req *req, int *perrno);
struct tevent_req *tstream_readv_pdu_queue_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev,
						struct tstream_context *stream, struct tevent_queue *queue,
						tstream_readv_pdu_next_vector_t next_vector_fn,
						void *next_vector_private);
int tstream_readv_pdu_queue_recv(struct tevent_req *req, int *perrno);
struct tevent_req *tstream_writev_queue_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev,
					     struct tstream_context *stream, struct tevent_queue *queue,
					     struct iovec *vector, size_t count);
int tstream_writev_queue_recv(struct tevent_req *req, int *perrno);

int _tdgram_bsd_existing_socket(TALLOC_CTX *mem_ctx, int fd, struct tdgram_context **dgram, const char *location);
struct tevent_req *tdgram_recvfrom_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev, struct tdgram_context *dgram);
ssize_t tdgram_recvfrom_recv(struct tevent_req *req, int *perrno, TALLOC_CTX *mem_ctx, uint8_t **buf,
			     struct tsocket_address **src);
struct tevent_req *tdgram_sendto_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev, struct tdgram_context *dgram,
				      const uint8_t *buf, size_t len, const struct tsocket_address *dst);
ssize_t tdgram_sendto_recv(struct tevent_req *req, int *perrno);

static inline void check(bool good, const char *what)
{
	if (!good) {
		perror(what);
		exit(1);
	}
}

/* Items, as the last argument. */
static inline long count_argument(int argc, char **argv, int wanted)
{
	if (argc != wanted) {
		fprintf(stderr, "%s: %d arguments, not %d\n", argv[0], argc - 1, wanted - 1);
		exit(2);
	}
	return atol(argv[argc - 1]);
}

static inline double seconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

/* Adds up over several pieces of work, so that what lies between them is left out. */
struct stopwatch {
	double cpu, wall;
};

static inline void stopwatch_start(struct stopwatch *watch)
{
	watch->wall -= seconds(CLOCK_MONOTONIC);
	watch->cpu -= seconds(CLOCK_PROCESS_CPUTIME_ID);
}

static inline void stopwatch_stop(struct stopwatch *watch)
{
	watch->cpu += seconds(CLOCK_PROCESS_CPUTIME_ID);
	watch->wall += seconds(CLOCK_MONOTONIC);
}

static inline void stopwatch_print(const struct stopwatch *watch, long count)
{
	printf("%.9f %.9f\n", watch->cpu / count * 1e6, watch->wall / count * 1e6);
}

/* A listening TCP socket on loopback, and pairs of connected sockets from it; as the Python units make theirs. */
static inline int listen_tcp(struct sockaddr_in *address)
{
	socklen_t size = sizeof(*address);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	*address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	check(fd != -1, "socket");
	check(bind(fd, (struct sockaddr *)address, size) == 0, "bind");
	check(listen(fd, 128) == 0, "listen");
	getsockname(fd, (struct sockaddr *)address, &size);
	return fd;
}

static inline void connected_pair(int listener, const struct sockaddr_in *address, int fds[2])
{
	struct linger linger = {.l_onoff = 1};
	int on = 1;
	int i;

	fds[0] = socket(AF_INET, SOCK_STREAM, 0);
	check(fds[0] != -1, "socket");
	check(connect(fds[0], (const struct sockaddr *)address, sizeof(*address)) == 0, "connect");
	fds[1] = accept(listener, NULL, NULL);
	check(fds[1] != -1, "accept");
	for (i = 0; i < 2; i++) {
		fcntl(fds[i], F_SETFL, O_NONBLOCK);
		setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		setsockopt(fds[i], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	}
}

static inline void allow_descriptors(void)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}
