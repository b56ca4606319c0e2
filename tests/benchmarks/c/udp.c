/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* udp.py's work with the C libraries: udp COUNT. */
#include "common.h"

struct end {
	struct tdgram_context *dgram;
	uint8_t *buf;
	struct tsocket_address *src;
	bool is_client;
};

static struct tevent_context *ev;
static uint8_t data[132];
static long left;

static void received(struct tevent_req *req);
static void sent(struct tevent_req *req);

static void receive(struct end *me)
{
	tevent_req_set_callback(tdgram_recvfrom_send(me, ev, me->dgram), received, me);
}

static void send_to(struct end *me, const uint8_t *buf, size_t size, const struct tsocket_address *dst)
{
	tevent_req_set_callback(tdgram_sendto_send(me, ev, me->dgram, buf, size, dst), sent, me);
}

static void received(struct tevent_req *req)
{
	struct end *me = tevent_req_callback_data(req, struct end);
	struct tsocket_address *src;
	uint8_t *buf;
	int err;
	ssize_t ret = tdgram_recvfrom_recv(req, &err, me, &buf, &src);

	TALLOC_FREE(req);
	check(ret != -1, "receive");
	receive(me);
	if (me->is_client) {
		TALLOC_FREE(buf);
		TALLOC_FREE(src);
		left--;
		if (left != 0) {
			send_to(me, data, sizeof(data), NULL);
		}
		return;
	}
	me->buf = buf;
	me->src = src;
	send_to(me, buf, ret, src);
}

static void sent(struct tevent_req *req)
{
	struct end *me = tevent_req_callback_data(req, struct end);
	int err;
	ssize_t ret = tdgram_sendto_recv(req, &err);

	TALLOC_FREE(req);
	check(ret != -1, "send");
	if (!me->is_client) {
		TALLOC_FREE(me->buf);
		TALLOC_FREE(me->src);
	}
}

static void run(struct end *client, long total)
{
	left = total;
	send_to(client, data, sizeof(data), NULL);
	while (left != 0) {
		tevent_loop_once(ev);
	}
}

/* The server's socket, or the client's that is connected to it. */
static int datagram_socket(struct sockaddr_in *address, bool is_server)
{
	socklen_t size = sizeof(*address);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	check(fd != -1, "socket");
	if (is_server) {
		check(bind(fd, (struct sockaddr *)address, size) == 0, "bind");
		getsockname(fd, (struct sockaddr *)address, &size);
	} else {
		check(connect(fd, (struct sockaddr *)address, size) == 0, "connect");
	}
	return fd;
}

int main(int argc, char **argv)
{
	long count = count_argument(argc, argv, 2);
	TALLOC_CTX *top = talloc_new(NULL);
	struct end *server = talloc_zero(top, struct end);
	struct end *client = talloc_zero(top, struct end);
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct stopwatch watch = {0};
	int ret;

	ev = tevent_context_init(top);
	ret = _tdgram_bsd_existing_socket(server, datagram_socket(&address, true), &server->dgram, __location__);
	check(ret == 0, "server");
	ret = _tdgram_bsd_existing_socket(client, datagram_socket(&address, false), &client->dgram, __location__);
	check(ret == 0, "client");
	client->is_client = true;
	receive(server);
	receive(client);
	run(client, 1000);
	stopwatch_start(&watch);
	run(client, count);
	stopwatch_stop(&watch);
	stopwatch_print(&watch, count);
	return 0;
}
