/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The streams driver: datagram sockets; a part of streams.c. */

/* --- datagrams -------------------------------------------------------------------------------------------------- */

static void dgram_made(const char *name, int ret, struct tdgram_context *dgram)
{
	saw("%s ret=%d e=%d %s", name, ret, ret == 0 ? 0 : errno, ret == 0 ? talloc_get_name(dgram) : "");
	target_add(name, ret == 0 ? dgram : NULL, true);
}

/* dpair D C R: one end of a socketpair; dbad D C FD */
static void op_dpair(int argc, char **argv)
{
	struct tdgram_context *dgram = NULL;
	TALLOC_CTX *mem_ctx;
	int fds[2];

	if (parent_get(argv[2], &mem_ctx) && !crowded &&
	    socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0) {
		int ret = tdgram_bsd_existing_socket(mem_ctx, fds[0], &dgram);
		raw_add(argv[3], fds[1]);
		dgram_made(argv[1], ret, dgram);
	}
}

static void op_dbad(int argc, char **argv)
{
	struct tdgram_context *dgram = NULL;
	TALLOC_CTX *mem_ctx;

	if (parent_get(argv[2], &mem_ctx)) {
		int ret = tdgram_bsd_existing_socket(mem_ctx, atoi(argv[3]), &dgram);
		dgram_made(argv[1], ret, dgram);
		target_get(argv[1], true)->disconnected = atoi(argv[3]) == -1;
	}
}

/* dgram D C inet|unix|broadcast LOCAL REMOTE|none */
static void op_dgram(int argc, char **argv)
{
	struct tsocket_address *local = address_get(argv[4]), *remote = address_get(argv[5]);
	struct tdgram_context *dgram = NULL;
	TALLOC_CTX *mem_ctx;
	int ret;

	if (!parent_get(argv[2], &mem_ctx) || local == NULL || (remote == NULL && strcmp(argv[5], "none") != 0)) {
		return;
	}
	inet_used |= argv[3][0] != 'u';
	errno = 0;
	if (argv[3][0] == 'i') {
		ret = tdgram_inet_udp_socket(local, remote, mem_ctx, &dgram);
	} else if (argv[3][0] == 'u') {
		ret = tdgram_unix_socket(local, remote, mem_ctx, &dgram);
	} else {
		ret = tdgram_inet_udp_broadcast_socket(local, mem_ctx, &dgram);
	}
	dgram_made(argv[1], ret, dgram);
}

/* doptimize D 0|1 */
static void op_doptimize(int argc, char **argv)
{
	struct target *t = target_get(argv[1], true);

	if (t != NULL) {
		t->optimize |= argv[2][0] == '1';
		saw("optimize was %d", tdgram_bsd_optimize_recvfrom(t->ptr, argv[2][0] == '1'));
	}
}

/* recvfrom R C E D A K */
static void op_recvfrom(int argc, char **argv)
{
	TALLOC_CTX *mem_ctx;
	struct tevent_context *ev = object_get(argv[3], "ev");
	struct target *t = target_get(argv[4], true);
	struct request *r;

	if (!parent_get(argv[2], &mem_ctx) || ev == NULL || t == NULL || in_vector) {
		return;
	}
	/* The older library does not look whether its backend has ended at once. */
	if ((kept_off(t, READ, ev, 0) || (!NEWER && t->fake != NULL && t->fake->mode[READ] != FAKE_WAIT)) && skip()) {
		return;
	}
	r = request_new(argv[1], "recvfrom", READ, true, argv[6]);
	snprintf(r->local_name, sizeof(r->local_name), "%s", argv[5]);
	r->early = !NEWER && (t->optimize || t->disconnected || (t->ev != NULL && t->ev != ev));
	request_started(r, t, ev, tdgram_recvfrom_send(mem_ctx, ev, t->ptr));
}

/* sendto R C E D LENGTH A|none K; sendtoq R C E D Q LENGTH A|none K */
static void send_to(char **argv, bool queued)
{
	TALLOC_CTX *mem_ctx;
	struct tevent_context *ev = object_get(argv[3], "ev");
	struct target *t = target_get(argv[4], true);
	struct tevent_queue *queue = queued ? object_get(argv[5], "queue") : NULL;
	struct tsocket_address *dst = address_get(argv[6 + queued]);
	struct request *r;
	struct tevent_req *req;
	struct iovec *vector;
	size_t count;

	if (!parent_get(argv[2], &mem_ctx) || ev == NULL || t == NULL || in_vector || (queued && queue == NULL) ||
	    (dst == NULL && strcmp(argv[6 + queued], "none") != 0)) {
		return;
	}
	if ((kept_off(t, WRITE, ev, 0) || (queued && queue_is_stale(queue))) && skip()) {
		return;
	}
	r = request_new(argv[1], queued ? "sendtoq" : "sendto", WRITE, !queued, argv[7 + queued]);
	r->queue = queue;
	count = vector_parse(r, argv[5 + queued], true, NULL, &vector);
	if (dst != NULL) {
		/* It must live as long as the request. */
		dst = tsocket_address_copy(dst, NULL);
	}
	r->at_once = queued && tevent_queue_length(queue) == 0 && tevent_queue_running(queue);
	req = queued ? tdgram_sendto_queue_send(mem_ctx, ev, t->ptr, queue, count ? vector->iov_base : NULL,
						count ? vector->iov_len : 0, dst)
		     : tdgram_sendto_send(mem_ctx, ev, t->ptr, count ? vector->iov_base : NULL,
					  count ? vector->iov_len : 0, dst);
	request_started(r, t, ev, req);
}

static void op_sendto(int argc, char **argv)
{
	send_to(argv, false);
}

static void op_sendtoq(int argc, char **argv)
{
	send_to(argv, true);
}

/* ddisconnect R C E D K */
static void op_ddisconnect(int argc, char **argv)
{
	TALLOC_CTX *mem_ctx;
	struct tevent_context *ev = object_get(argv[3], "ev");
	struct target *t = target_get(argv[4], true);

	if (!parent_get(argv[2], &mem_ctx) || ev == NULL || t == NULL || in_vector) {
		return;
	}
	if (kept_off(t, DISCONNECT, ev, 0) && skip()) {
		return;
	}
	request_started(request_new(argv[1], "ddisconnect", DISCONNECT, true, argv[5]), t, ev,
			tdgram_disconnect_send(mem_ctx, ev, t->ptr));
}
