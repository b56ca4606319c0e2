/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* pdu.py's work with the C libraries: pdu CONNECTIONS ACTIVE COUNT. */
#include "common.h"

struct connection {
	struct tstream_context *stream;
	struct tevent_queue *read_queue, *write_queue;
	uint8_t header[4];
	uint8_t *body, *sent;
	int step;
	bool is_client;
	long left;
	struct iovec vector[2];
	uint8_t sent_header[4];
};

static struct tevent_context *ev;
static uint8_t greeting[128];
static long busy;

static void pdu_read(struct tevent_req *req);
static void pdu_written(struct tevent_req *req);

static int next_vector(struct tstream_context *stream, void *private_data, TALLOC_CTX *mem_ctx, struct iovec **_vector,
		       size_t *_count)
{
	struct connection *conn = private_data;
	struct iovec *vector;
	uint32_t size;

	if (conn->step == 2) {
		*_vector = NULL;
		*_count = 0;
		return 0;
	}
	vector = talloc_array(mem_ctx, struct iovec, 1);
	if (conn->step == 0) {
		vector->iov_base = conn->header;
		vector->iov_len = sizeof(conn->header);
	} else {
		memcpy(&size, conn->header, sizeof(size));
		size = ntohl(size);
		conn->body = talloc_array(conn, uint8_t, size);
		vector->iov_base = conn->body;
		vector->iov_len = size;
	}
	conn->step++;
	*_vector = vector;
	*_count = 1;
	return 0;
}

static void read_pdu(struct connection *conn)
{
	struct tevent_req *req;

	conn->step = 0;
	conn->body = NULL;
	req = tstream_readv_pdu_queue_send(conn, ev, conn->stream, conn->read_queue, next_vector, conn);
	tevent_req_set_callback(req, pdu_read, conn);
}

/* *body* is freed once it is written. No talloc_steal(), which looks through all connections for a loop. */
static void write_pdu(struct connection *conn, uint8_t *body, size_t size)
{
	struct tevent_req *req;
	uint32_t length = htonl(size);

	memcpy(conn->sent_header, &length, sizeof(length));
	conn->vector[0] = (struct iovec){conn->sent_header, sizeof(conn->sent_header)};
	conn->vector[1] = (struct iovec){body, size};
	req = tstream_writev_queue_send(conn, ev, conn->stream, conn->write_queue, conn->vector, 2);
	conn->sent = body != greeting ? body : NULL;
	tevent_req_set_callback(req, pdu_written, conn);
}

static void pdu_read(struct tevent_req *req)
{
	struct connection *conn = tevent_req_callback_data(req, struct connection);
	uint8_t *body;
	int err;
	int ret = tstream_readv_pdu_queue_recv(req, &err);

	TALLOC_FREE(req);
	check(ret != -1, "read");
	body = conn->body;
	read_pdu(conn);
	if (conn->is_client) {
		conn->left--;
		if (conn->left == 0) {
			talloc_free(body);
			busy--;
			return;
		}
	}
	write_pdu(conn, body, talloc_get_size(body));
}

static void pdu_written(struct tevent_req *req)
{
	struct connection *conn = tevent_req_callback_data(req, struct connection);
	int err;
	int ret = tstream_writev_queue_recv(req, &err);

	TALLOC_FREE(req);
	check(ret != -1, "write");
	TALLOC_FREE(conn->sent);
}

static void run(struct connection **clients, long connections, long active, long total)
{
	long i;

	busy = active;
	for (i = 0; i < connections; i += connections / active) {
		clients[i]->left = total / active;
		write_pdu(clients[i], greeting, sizeof(greeting));
	}
	while (busy != 0) {
		tevent_loop_once(ev);
	}
}

int main(int argc, char **argv)
{
	long count = count_argument(argc, argv, 4);
	long connections = atol(argv[1]);
	long active = atol(argv[2]);
	TALLOC_CTX *top = talloc_new(NULL);
	struct connection **clients = talloc_array(top, struct connection *, connections);
	struct stopwatch watch = {0};
	struct sockaddr_in address;
	int listener = listen_tcp(&address);
	long i;
	int end;

	allow_descriptors();
	ev = tevent_context_init(top);
	for (i = 0; i < (long)sizeof(greeting); i++) {
		greeting[i] = i;
	}
	for (i = 0; i < connections; i++) {
		int fds[2];

		connected_pair(listener, &address, fds);
		for (end = 0; end < 2; end++) {
			struct connection *conn = talloc_zero(top, struct connection);

			check(_tstream_bsd_existing_socket(conn, fds[end], &conn->stream, __location__) == 0, "stream");
			conn->read_queue = tevent_queue_create(conn, "read");
			conn->write_queue = tevent_queue_create(conn, "write");
			conn->is_client = end == 0;
			read_pdu(conn);
			if (end == 0) {
				clients[i] = conn;
			}
		}
	}
	run(clients, connections, active, 1000);
	stopwatch_start(&watch);
	run(clients, connections, active, count);
	stopwatch_stop(&watch);
	stopwatch_print(&watch, count);
	return 0;
}
