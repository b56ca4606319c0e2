/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* memory.py's work with the C libraries: memory COUNT. */
#include "common.h"

#define WARM_UP 500

struct connection {
	struct tstream_context *stream;
	struct tevent_queue *write_queue;
	uint8_t header[4];
	uint8_t *body;
};

static int next_vector(struct tstream_context *stream, void *private_data, TALLOC_CTX *mem_ctx, struct iovec **_vector,
		       size_t *_count)
{
	struct connection *conn = private_data;
	struct iovec *vector = talloc_array(mem_ctx, struct iovec, 1);

	vector->iov_base = conn->header;
	vector->iov_len = sizeof(conn->header);
	*_vector = vector;
	*_count = 1;
	return 0;
}

/* No queue here, so tstream_readv_pdu_send() itself. */
struct tevent_req *tstream_readv_pdu_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev, struct tstream_context *stream,
					  tstream_readv_pdu_next_vector_t next_vector_fn, void *next_vector_private);

static void pdu_read(struct tevent_req *req)
{
	abort();
}

static void nothing(struct tevent_context *ev, struct tevent_timer *te, struct timeval now, void *private_data)
{
}

static void serve_all(TALLOC_CTX *top, struct tevent_context *ev, const int *fds, long count)
{
	long i;

	for (i = 0; i < count; i++) {
		struct connection *conn = talloc_zero(top, struct connection);
		struct tevent_req *req;

		check(_tstream_bsd_existing_socket(conn, fds[i], &conn->stream, __location__) == 0, "stream");
		conn->write_queue = tevent_queue_create(conn, "write");
		req = tstream_readv_pdu_send(conn, ev, conn->stream, next_vector, conn);
		tevent_req_set_callback(req, pdu_read, conn);
	}
	tevent_add_timer(ev, top, tevent_timeval_zero(), nothing, NULL);
	tevent_loop_once(ev);
}

static double resident(void)
{
	FILE *statm = fopen("/proc/self/statm", "r");
	long total, pages;

	check(statm != NULL && fscanf(statm, "%ld %ld", &total, &pages) == 2, "statm");
	fclose(statm);
	return (double)pages * sysconf(_SC_PAGESIZE);
}

int main(int argc, char **argv)
{
	long count = count_argument(argc, argv, 2);
	TALLOC_CTX *top = talloc_new(NULL);
	struct tevent_context *ev = tevent_context_init(top);
	int *fds = calloc(WARM_UP + count, sizeof(int));
	struct sockaddr_in address;
	int listener = listen_tcp(&address);
	double before;
	long i;

	allow_descriptors();
	for (i = 0; i < WARM_UP + count; i++) {
		int pair[2];

		connected_pair(listener, &address, pair);
		fds[i] = pair[1];
	}
	serve_all(top, ev, fds, WARM_UP);
	before = resident();
	serve_all(top, ev, fds + WARM_UP, count);
	printf("%.3f nan\n", (resident() - before) / count);
	return 0;
}
