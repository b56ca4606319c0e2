/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* bulk.py's work with the C libraries: bulk COUNT. */
#include "common.h"

#define SIZE 65536

static TALLOC_CTX *top;
static struct tevent_context *ev;
static struct tstream_context *client, *server;
static uint8_t block[SIZE], buffer[SIZE];
static long to_write, to_read;

static void written(struct tevent_req *req);
static void was_read(struct tevent_req *req);

static void start_write(void)
{
	static struct iovec vector = {block, SIZE};

	tevent_req_set_callback(tstream_writev_send(top, ev, client, &vector, 1), written, NULL);
}

static void written(struct tevent_req *req)
{
	int err;
	int ret = tstream_writev_recv(req, &err);

	TALLOC_FREE(req);
	check(ret != -1, "write");
	to_write--;
	if (to_write != 0) {
		start_write();
	}
}

static void start_read(void)
{
	static struct iovec vector = {buffer, SIZE};

	tevent_req_set_callback(tstream_readv_send(top, ev, server, &vector, 1), was_read, NULL);
}

static void was_read(struct tevent_req *req)
{
	int err;
	int ret = tstream_readv_recv(req, &err);

	TALLOC_FREE(req);
	check(ret != -1, "read");
	to_read--;
	if (to_read != 0) {
		start_read();
	}
}

static void run(long total)
{
	to_read = to_write = total;
	start_read();
	start_write();
	while (to_read != 0) {
		tevent_loop_once(ev);
	}
}

int main(int argc, char **argv)
{
	long count = count_argument(argc, argv, 2);
	struct stopwatch watch = {0};
	struct sockaddr_in address;
	int fds[2];
	int i;

	for (i = 0; i < SIZE; i++) {
		block[i] = i;
	}
	connected_pair(listen_tcp(&address), &address, fds);
	top = talloc_new(NULL);
	ev = tevent_context_init(top);
	check(_tstream_bsd_existing_socket(top, fds[0], &client, __location__) == 0, "stream");
	check(_tstream_bsd_existing_socket(top, fds[1], &server, __location__) == 0, "stream");
	run(256);
	stopwatch_start(&watch);
	run(count);
	stopwatch_stop(&watch);
	stopwatch_print(&watch, count);
	return 0;
}
