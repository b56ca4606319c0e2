/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * The streams driver: backends of its own, below streams and datagram contexts that the core makes for them; a part of
 * streams.c.
 *
 * Each operation of a backend does what "fmode" has told: "wait" for "bdone" or "berror", end at once with "done N" or
 * "error N", or make no request at all, "null". Its requests are called b0, b1 ...
 */

enum fake_mode { FAKE_WAIT, FAKE_DONE, FAKE_ERROR, FAKE_NULL };

struct fake {
	enum fake_mode mode[4];
	int value[4];
	/* Bytes, or an errno below zero. */
	int pending;
};

struct fake_request {
	int ret;
};

static int fakes_made;

static struct tevent_req *fake_begin(TALLOC_CTX *mem_ctx, struct tevent_context *ev, const void *of, struct fake *fake,
				     enum slot slot, const char *what)
{
	struct fake_request *state;
	struct tevent_req *req;
	char name[NAME_MAX_BYTES];

	if (fake->mode[slot] == FAKE_NULL) {
		saw("backend %s %s none", object_name(of), what);
		return NULL;
	}
	snprintf(name, sizeof(name), "b%d", fakes_made++);
	saw("backend %s %s %s", object_name(of), what, name);
	req = tevent_req_create(mem_ctx, &state, struct fake_request);
	object_add(name, "breq", req);
	state->ret = fake->value[slot];
	if (fake->mode[slot] == FAKE_WAIT) {
		return req;
	}
	if (fake->mode[slot] == FAKE_DONE) {
		tevent_req_done(req);
	} else {
		tevent_req_error(req, fake->value[slot]);
	}
	return tevent_req_post(req, ev);
}

static int fake_end(struct tevent_req *req, int *perrno)
{
	struct fake_request *state = tevent_req_data(req, struct fake_request);
	int ret = tsocket_simple_int_recv(req, perrno);

	if (ret == 0) {
		ret = state->ret;
	}
	saw("backend ends %s", object_name(req));
	tevent_req_received(req);
	return ret;
}

static const char *vector_shown(const struct iovec *vector, size_t count, bool bytes)
{
	static unsigned char all[1 << 21];
	static char out[300];
	size_t n = 0;

	for (size_t i = 0; i < count && n + vector[i].iov_len < sizeof(all); i++) {
		if (bytes && vector[i].iov_len > 0) {
			memcpy(all + n, vector[i].iov_base, vector[i].iov_len);
		}
		n += vector[i].iov_len;
	}
	snprintf(out, sizeof(out), "%s %zu/%zu %s", bytes ? "writev" : "readv", count, n, bytes ? bytes_shown(all, n) : "");
	return out;
}

static struct fake *fake_of(struct tstream_context *stream)
{
	return tstream_context_data(stream, struct fake);
}

static ssize_t fake_pending_bytes(struct tstream_context *stream)
{
	int pending = fake_of(stream)->pending;

	saw("backend %s pending", object_name(stream));
	if (pending < 0) {
		errno = -pending;
		return -1;
	}
	return pending;
}

static struct tevent_req *fake_readv_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev, struct tstream_context *stream,
					  struct iovec *vector, size_t count)
{
	return fake_begin(mem_ctx, ev, stream, fake_of(stream), READ, vector_shown(vector, count, false));
}

static struct tevent_req *fake_writev_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev,
					   struct tstream_context *stream, const struct iovec *vector, size_t count)
{
	return fake_begin(mem_ctx, ev, stream, fake_of(stream), WRITE, vector_shown(vector, count, true));
}

static struct tevent_req *fake_disconnect_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev,
					       struct tstream_context *stream)
{
	return fake_begin(mem_ctx, ev, stream, fake_of(stream), DISCONNECT, "disconnect");
}

#if NEWER
static struct tevent_req *fake_monitor_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev,
					    struct tstream_context *stream)
{
	return fake_begin(mem_ctx, ev, stream, fake_of(stream), MONITOR, "monitor");
}
#endif

/* fake S C [nomonitor] */
static void op_fake(int argc, char **argv)
{
	static const struct tstream_context_ops without = {
		.name = "fake",
		.pending_bytes = fake_pending_bytes,
		.readv_send = fake_readv_send,
		.readv_recv = fake_end,
		.writev_send = fake_writev_send,
		.writev_recv = fake_end,
		.disconnect_send = fake_disconnect_send,
		.disconnect_recv = fake_end,
	};
	static struct tstream_context_ops with;
	struct tstream_context *stream;
	struct fake *fake;
	TALLOC_CTX *mem_ctx;

	if (!parent_get(argv[2], &mem_ctx) || in_vector) {
		return;
	}
	with = without;
#if NEWER
	with.monitor_send = fake_monitor_send;
	with.monitor_recv = fake_end;
#endif
	stream = tstream_context_create(mem_ctx, argv[3][0] == '\0' ? &with : &without, &fake, struct fake, __location__);
	memset(fake, 0, sizeof(*fake));
	target_add(argv[1], stream, false)->fake = fake;
}

static struct tevent_req *fake_recvfrom_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev, struct tdgram_context *dgram)
{
	return fake_begin(mem_ctx, ev, dgram, tdgram_context_data(dgram, struct fake), READ, "recvfrom");
}

static ssize_t fake_recvfrom_recv(struct tevent_req *req, int *perrno, TALLOC_CTX *mem_ctx, uint8_t **buf,
				  struct tsocket_address **src)
{
	int ret = fake_end(req, perrno);

	if (ret != -1) {
		*buf = talloc_zero_array(mem_ctx, uint8_t, ret > 0 ? ret : 1);
		tsocket_address_unix_from_path(mem_ctx, "fake", src);
	}
	return ret;
}

static struct tevent_req *fake_sendto_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev, struct tdgram_context *dgram,
					   const uint8_t *buf, size_t len, const struct tsocket_address *dst)
{
	char text[600];
	char *to = tsocket_address_string(dst, NULL);

	snprintf(text, sizeof(text), "sendto %s %s", bytes_shown(buf, len), to == NULL ? "nobody" : shown(to, false));
	return fake_begin(mem_ctx, ev, dgram, tdgram_context_data(dgram, struct fake), WRITE, text);
}

static ssize_t fake_sendto_recv(struct tevent_req *req, int *perrno)
{
	return fake_end(req, perrno);
}

static struct tevent_req *fake_dgram_disconnect_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev,
						     struct tdgram_context *dgram)
{
	return fake_begin(mem_ctx, ev, dgram, tdgram_context_data(dgram, struct fake), DISCONNECT, "disconnect");
}

/* dfake D C */
static void op_dfake(int argc, char **argv)
{
	static const struct tdgram_context_ops ops = {
		.name = "fake",
		.recvfrom_send = fake_recvfrom_send,
		.recvfrom_recv = fake_recvfrom_recv,
		.sendto_send = fake_sendto_send,
		.sendto_recv = fake_sendto_recv,
		.disconnect_send = fake_dgram_disconnect_send,
		.disconnect_recv = fake_end,
	};
	struct tdgram_context *dgram;
	struct fake *fake;
	TALLOC_CTX *mem_ctx;

	if (!parent_get(argv[2], &mem_ctx) || in_vector) {
		return;
	}
	dgram = tdgram_context_create(mem_ctx, &ops, &fake, struct fake, __location__);
	memset(fake, 0, sizeof(*fake));
	target_add(argv[1], dgram, true)->fake = fake;
}

/* fmode X read|write|disconnect|monitor|pending wait|done|error|null VALUE */
static void op_fmode(int argc, char **argv)
{
	static const char *const slots[] = { "read", "write", "disconnect", "monitor" };
	static const char *const modes[] = { "wait", "done", "error", "null" };
	struct object *object = object_find(argv[1]);
	struct target *t = object == NULL ? NULL : target_get(argv[1], strcmp(object->kind, "dgram") == 0);

	if (t == NULL || t->fake == NULL) {
		return;
	}
	/* What is not made keeps the older library busy until the failure is received. */
	if (!NEWER && strcmp(argv[3], "null") == 0 && skip()) {
		return;
	}
	if (strcmp(argv[2], "pending") == 0) {
		t->fake->pending = atoi(argv[4]);
	}
	for (int i = 0; i < 4; i++) {
		for (int k = 0; k < 4; k++) {
			if (strcmp(argv[2], slots[i]) == 0 && strcmp(argv[3], modes[k]) == 0) {
				t->fake->mode[i] = k;
				t->fake->value[i] = atoi(argv[4]);
			}
		}
	}
}

/* bdone B VALUE; berror B ERRNO */
static void op_bdone(int argc, char **argv)
{
	struct tevent_req *req = object_get(argv[1], "breq");
	struct fake_request *state;

	if (req == NULL || in_vector || !tevent_req_is_in_progress(req)) {
		return;
	}
	if (strcmp(argv[0], "berror") == 0) {
		tevent_req_error(req, atoi(argv[2]));
		return;
	}
	state = tevent_req_data(req, struct fake_request);
	state->ret = atoi(argv[2]);
	tevent_req_done(req);
}
