/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * The driver of tsocket: streams, datagrams, addresses, the PDU engine and the queue helpers.
 *
 * Built against the tsocket of Samba 4.17 (Debian 12) or against that of 4.23 and newer, which the packages follow.
 * Where the older one is known to differ (see known.py) the driver says "skip" instead of carrying an operation out; the Python
 * side decides likewise, from the same facts. "NEWER" is the name of that decision in both.
 */
#define VIRTUAL_CLOCK
#define epoll_wait common_epoll_wait
#include "common.h"
#undef epoll_wait
#include "streams.h"
#include <limits.h>
#include <stddef.h>
#include <tevent.h>
#include <tsocket.h>
#include <tsocket_internal.h>

#ifdef TEVENT_FD_ERROR
#define NEWER 1
#else
#define NEWER 0
#endif

#if !NEWER
/* Only here to compile; never called. */
static struct tevent_req *tstream_monitor_send(TALLOC_CTX *c, struct tevent_context *e, struct tstream_context *s)
{
	return NULL;
}
static int tstream_monitor_recv(struct tevent_req *req, int *perrno)
{
	return -1;
}
static bool tstream_bsd_fail_readv_first_error(struct tstream_context *s, bool on)
{
	return false;
}
#endif

/* A stream or datagram context, and what the program has done to its wire. */
struct target {
	void *ptr;
	bool is_dgram;
	bool optimize;
	bool disconnected;
	/* The peer has shut its side down, or is gone. */
	bool peer_bad;
	/* An operation has waited for the descriptor at some time. */
	bool waited;
	/* The descriptor is none, or one end of a pipe used as the other: it fails, and no event ever tells. */
	bool odd, odd_failed;
	char pipe_end;
	/* Failed while nothing was outstanding: the newer library loses data here, the packages do not. */
	bool tainted;
	/* The other end, if that is a stream too. */
	struct target *twin;
	struct tevent_context *ev;
};

enum slot { READ, WRITE, DISCONNECT, MONITOR, OTHER };

struct request {
	char name[NAME_MAX_BYTES];
	const char *type;
	enum slot slot;
	bool direct;
	struct tevent_req *req;
	struct target *target;
	char script[NAME_MAX_BYTES];
	/* The buffers of all vectors, in order. */
	struct iovec *buffers;
	size_t buffers_count;
	/* Of a PDU: its vectors, and how many it has asked for. */
	char **vectors;
	int vector_at, asked;
	bool received, called;
	/* The driver has received it already: a "recv" of the program does nothing. */
	bool received_at_once;
	/* A helper that was started inside its send function, so it does not look at its target any more. */
	bool at_once;
	struct tevent_queue *queue;
	struct tevent_context *ev;
	/* So many turns have been since it died, of either context. */
	int turns_since[2];
	/* A receive that may have finished inside its send function (what the older library never does). */
	bool early;
	char stream_name[NAME_MAX_BYTES], local_name[NAME_MAX_BYTES];
};

#define REQUESTS_MAX 4096
static struct request *requests[REQUESTS_MAX];
static struct target *targets[REQUESTS_MAX];
static int requests_count, targets_count;
static int descriptors_at_begin;
/* There is another event context than e. */
static bool two_contexts;
/* By then an immediate that was on its way has arrived: each turn serves one. */
#define STALE_TURNS 12
static bool in_turn, in_vector;

static bool request_lives(const struct request *r)
{
	return !chunk_is_dead(r->req);
}

static bool request_runs(const struct request *r)
{
	return request_lives(r) && !r->received && tevent_req_is_in_progress(r->req);
}

static bool target_lives(const struct target *t)
{
	return !chunk_is_dead(t->ptr);
}

static bool timed_out(const struct request *r)
{
	enum tevent_req_state state;
	uint64_t error;

	return tevent_req_is_error(r->req, &state, &error) && state == TEVENT_REQ_TIMED_OUT;
}

/* "-" is no parent at all. False: there is no such chunk. */
static bool parent_get(const char *name, TALLOC_CTX **ctx)
{
	*ctx = strcmp(name, "-") == 0 ? NULL : object_get(name, "ctx");
	return *ctx != NULL || strcmp(name, "-") == 0;
}

static struct target *target_get(const char *name, bool is_dgram)
{
	struct object *object = object_find(name);

	if (object == NULL || strcmp(object->kind, is_dgram ? "dgram" : "stream") != 0) {
		return NULL;
	}
	return object->more;
}

static struct request *request_get(const char *name)
{
	struct object *object = object_find(name);

	return object == NULL || strcmp(object->kind, "req") != 0 ? NULL : object->more;
}

static void note_descriptors(void);

static struct target *target_add(const char *name, void *ptr, bool is_dgram)
{
	struct target *t;

	if (ptr == NULL) {
		return NULL;
	}
	t = calloc(1, sizeof(*t));
	t->ptr = ptr;
	t->is_dgram = is_dgram;
	object_add(name, is_dgram ? "dgram" : "stream", ptr)->more = t;
	if (targets_count == REQUESTS_MAX) {
		program_aborts("too many targets");
	}
	targets[targets_count++] = t;
	note_descriptors();
	return t;
}

static bool peer_is_bad(const struct target *t)
{
	return t->peer_bad || (t->twin != NULL && (t->twin->disconnected || !target_lives(t->twin)));
}

/* --- which of several is told first ------------------------------------------------------------------------------ */

/*
 * The older library takes a descriptor out of epoll where the newer one keeps it in for errors, so that the kernel reports
 * several ready ones in another order. For the older one it is that of their creation, on both sides.
 */
#define FDS_MAX 256
static struct {
	ino_t inode;
	int rank;
	/* What epoll knows it by. */
	void *ptr;
} descriptors[FDS_MAX];
static int ranks;

static void note_descriptors(void)
{
	struct stat st;

	for (int fd = 3; !NEWER && fd < FDS_MAX; fd++) {
		if (fstat(fd, &st) == 0 && st.st_ino != descriptors[fd].inode) {
			descriptors[fd].inode = st.st_ino;
			descriptors[fd].rank = ++ranks;
		}
	}
}

int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
	if (event != NULL && fd >= 0 && fd < FDS_MAX) {
		descriptors[fd].ptr = event->data.ptr;
	}
	return syscall(SYS_epoll_ctl, epfd, op, fd, event);
}

int epoll_wait(int epfd, struct epoll_event *events, int maxevents, int timeout)
{
	struct epoll_event ready[FDS_MAX];
	int n = NEWER ? 0 : syscall(SYS_epoll_wait, epfd, ready, FDS_MAX, 0);
	int best = INT_MAX;

	if (n <= 0) {
		return common_epoll_wait(epfd, events, maxevents, timeout);
	}
	for (int i = 0; i < n; i++) {
		for (int fd = 0; fd < FDS_MAX; fd++) {
			if (descriptors[fd].ptr == ready[i].data.ptr && descriptors[fd].rank < best) {
				best = descriptors[fd].rank;
				events[0] = ready[i];
			}
		}
	}
	return 1;
}

/* --- what is kept off, see known.py ----------------------------------------------------------------------------- */

static bool skip(void)
{
	saw("skip");
	return true;
}

/* Whether nothing on t waits for an event of ev. */
static bool is_idle(const struct target *t, const struct tevent_context *ev)
{
	for (int i = 0; i < requests_count; i++) {
		const struct request *r = requests[i];
		/* A helper that waits for its turn does nothing yet. */
		if (r->target == t && r->slot != DISCONNECT && request_runs(r) && r->ev == ev &&
		    (r->direct || r->at_once)) {
			return false;
		}
	}
	return true;
}

/* Before a turn; false if a waiting helper would be started on what fails now. */
static bool note_taint(const struct tevent_context *ev)
{
	for (int i = 0; NEWER && i < targets_count; i++) {
		struct target *t = targets[i];
		if (t->is_dgram || !t->waited || !peer_is_bad(t) || !target_lives(t) || !is_idle(t, ev)) {
			continue;
		}
		t->tainted = true;
		for (int k = 0; k < requests_count; k++) {
			if (requests[k]->target == t && requests[k]->slot != DISCONNECT && request_runs(requests[k])) {
				return false;
			}
		}
	}
	return true;
}

/* A write of a few bytes may have to wait, for its peer has not read what was written before. */
static bool may_block(const struct target *t)
{
	for (int i = 0; i < raws_count; i++) {
		int unread = 0;
		if (raws[i].fd != -1 && raws[i].peer == t && ioctl(raws[i].fd, FIONREAD, &unread) == 0 && unread > 0) {
			return true;
		}
	}
	return false;
}

/* Whether an operation of that kind on t must not be carried out. */
static bool kept_off(const struct target *t, enum slot slot, struct tevent_context *ev, size_t bytes)
{
	if (t->tainted || (slot == MONITOR && !NEWER) || (t->odd_failed && (slot == READ || slot == MONITOR))) {
		return true;
	}
	for (int i = 0; i < requests_count; i++) {
		const struct request *r = requests[i];
		bool meets = r->slot == slot || (slot == DISCONNECT && (r->slot == READ || r->slot == WRITE));

		if (r->target != t || !request_lives(r) || r->received) {
			continue;
		}
		if (meets && r->direct && !tevent_req_is_in_progress(r->req) && (!NEWER || timed_out(r))) {
			return true;
		}
		if (NEWER) {
			continue;
		}
		if (!t->is_dgram && r->slot == DISCONNECT && tevent_req_is_in_progress(r->req)) {
			return true;
		}
		if (!t->is_dgram && slot == DISCONNECT && !r->direct) {
			return true;
		}
		if (t->is_dgram && (slot == READ || slot == DISCONNECT) && r->early && !r->called) {
			return true;
		}
	}
	return !NEWER && !t->is_dgram && slot == WRITE && (t->twin != NULL || t->peer_bad) && (bytes > 256 || may_block(t));
}

/*
 * Whether an immediate of a queue may be on its way although the queue is empty: it would start what is added now for a
 * second time.
 */
static bool queue_is_stale(const struct tevent_queue *queue)
{
	if (tevent_queue_length((struct tevent_queue *)queue) > 0) {
		return false;
	}
	for (int i = 0; i < requests_count; i++) {
		const struct request *r = requests[i];
		if (r->queue == queue && !request_lives(r) &&
		    (r->turns_since[0] < STALE_TURNS || (two_contexts && r->turns_since[1] < STALE_TURNS))) {
			return true;
		}
	}
	return false;
}

static void note_turn(bool other)
{
	for (int i = 0; i < requests_count; i++) {
		if (requests[i]->queue != NULL && !request_lives(requests[i])) {
			requests[i]->turns_since[other]++;
		}
	}
}

/* A waiting helper looks at its stream when its turn comes; C looks at freed memory then. */
static bool undefined_to_free(const void *ptr)
{
	for (int i = 0; i < requests_count; i++) {
		const struct request *r = requests[i];

		bool waits, unheard;

		if (r->target == NULL || !request_lives(r) || r->received || !target_lives(r->target)) {
			continue;
		}
		waits = !r->direct && !r->at_once && tevent_req_is_in_progress(r->req);
		/* The older library knows a finished request until it is received. */
		unheard = !NEWER && r->direct && (!tevent_req_is_in_progress(r->req) || (r->early && !r->called) ||
						  (r->slot == DISCONNECT && !r->target->is_dgram));
		if ((waits || unheard) && talloc_is_parent(r->target->ptr, ptr) && !talloc_is_parent(r->req, ptr)) {
			return true;
		}
	}
	return false;
}

/* Whether a write on t is outstanding, or waits in a queue. */
static bool writes(const struct target *t)
{
	for (int i = 0; i < requests_count; i++) {
		if (requests[i]->target == t && requests[i]->slot == WRITE && request_runs(requests[i])) {
			return true;
		}
	}
	return false;
}

/* A peer that fails while a write is blocked: the older library may take a second to notice. */
static bool peer_must_stay(const struct raw *raw)
{
	return !NEWER && raw->peer != NULL && writes(raw->peer);
}

/* --- requests --------------------------------------------------------------------------------------------------- */

static void receive(struct request *r, TALLOC_CTX *mem_ctx);

static bool helper_waits(const struct target *t, enum slot slot)
{
	for (int i = 0; i < requests_count; i++) {
		const struct request *r = requests[i];
		if (r->target == t && !r->direct && !r->at_once && r->slot == slot && request_runs(r)) {
			return true;
		}
	}
	return false;
}

static void done(struct tevent_req *req)
{
	struct request *r = tevent_req_callback_data_void(req);

	r->called = true;
	saw("called %s", r->name);
	/*
	 * A connect request that is not received here is called back again and again; one that has timed out is not over yet;
	 * and for the older library none is, so that a helper that waits would find the stream busy.
	 */
	if (strcmp(r->type, "connect") == 0 || timed_out(r) || (!NEWER && r->direct && helper_waits(r->target, r->slot))) {
		receive(r, object_get("r", NULL));
		r->received_at_once = true;
	}
	run_script(r->script);
}

static struct request *request_new(const char *name, const char *type, enum slot slot, bool direct, const char *script)
{
	struct request *r = calloc(1, sizeof(*r));

	snprintf(r->name, sizeof(r->name), "%s", name);
	snprintf(r->script, sizeof(r->script), "%s", script);
	r->type = type;
	r->slot = slot;
	r->direct = direct;
	return r;
}

static void request_started(struct request *r, struct target *t, struct tevent_context *ev, struct tevent_req *req)
{
	r->req = req;
	r->target = t;
	r->ev = ev;
	if (requests_count == REQUESTS_MAX) {
		program_aborts("too many requests");
	}
	requests[requests_count++] = r;
	if (t == NULL) {
		note_descriptors();
	}
	object_add(r->name, "req", req)->more = r;
	tevent_req_set_callback(req, done, r);
	if (t != NULL) {
		t->waited |= tevent_req_is_in_progress(req) && r->slot != DISCONNECT;
		t->disconnected |= r->slot == DISCONNECT && tevent_req_is_in_progress(req);
		t->ev = ev;
		t->odd_failed |= t->odd && (t->pipe_end == '\0' || t->pipe_end == (r->slot == READ ? 'w' : 'r'));
	}
	if (r->early) {
		saw("%s sent", r->name);
	} else {
		saw("%s prog=%d", r->name, tevent_req_is_in_progress(req));
	}
	settle();
}

/* The vector that text describes; "fill" puts the next bytes of the pattern into it. */
static size_t vector_parse(struct request *r, const char *text, bool fill, TALLOC_CTX *mem_ctx, struct iovec **vector)
{
	const unsigned char *bytes = fill ? pattern_next() : NULL;
	size_t count = 0, room = 1;
	const char *p;

	*vector = NULL;
	if (strcmp(text, "none") == 0) {
		return 0;
	}
	for (p = text; *p != '\0'; p++) {
		room += *p == ',';
	}
	if (text[0] == 'x') {
		room = strtoul(text + 1, NULL, 10);
	}
	*vector = talloc_array(mem_ctx, struct iovec, room);
	if (strcmp(text, "empty") == 0) {
		return 0;
	}
	r->buffers = realloc(r->buffers, (r->buffers_count + room) * sizeof(struct iovec));
	for (p = text; count < room; count++) {
		size_t length = text[0] == 'x' ? 1 : strtoul(p, NULL, 10);
		struct iovec *element = *vector + count;

		element->iov_len = length;
		element->iov_base = text[0] != 'x' && *p == 'z' ? NULL : calloc(1, length + 1);
		if (fill && length > 0) {
			memcpy(element->iov_base, bytes, length);
			bytes += length;
		}
		r->buffers[r->buffers_count++] = *element;
		p += strcspn(p, ",");
		p += *p == ',';
	}
	return count;
}

static size_t vector_bytes(const char *text)
{
	size_t total = 0;

	for (const char *p = text; *p != '\0'; p += strcspn(p, ","), p += *p == ',') {
		total += strtoul(p, NULL, 10);
	}
	return total;
}

/* What the buffers of a request hold. */
static const char *buffers_shown(const struct request *r)
{
	static unsigned char all[1 << 21];
	size_t n = 0;

	for (size_t i = 0; i < r->buffers_count && n + r->buffers[i].iov_len <= sizeof(all); i++) {
		if (r->buffers[i].iov_base != NULL) {
			memcpy(all + n, r->buffers[i].iov_base, r->buffers[i].iov_len);
		}
		n += r->buffers[i].iov_len;
	}
	return bytes_shown(all, n);
}

/* readv R C E S VECTOR K */
static void op_readv(int argc, char **argv)
{
	TALLOC_CTX *mem_ctx;
	struct tevent_context *ev = object_get(argv[3], "ev");
	struct target *t = target_get(argv[4], false);
	struct request *r;
	struct iovec *vector;
	size_t count;

	if (!parent_get(argv[2], &mem_ctx) || ev == NULL || t == NULL || in_vector) {
		return;
	}
	if (kept_off(t, READ, ev, 0) && skip()) {
		return;
	}
	r = request_new(argv[1], "readv", READ, true, argv[6]);
	count = vector_parse(r, argv[5], false, NULL, &vector);
	request_started(r, t, ev, tstream_readv_send(mem_ctx, ev, t->ptr, vector, count));
	/* The array itself has been copied. */
	memset(vector, 0xff, count * sizeof(*vector));
}

/* writev R C E S VECTOR K */
static void op_writev(int argc, char **argv)
{
	TALLOC_CTX *mem_ctx;
	struct tevent_context *ev = object_get(argv[3], "ev");
	struct target *t = target_get(argv[4], false);
	struct request *r;
	struct iovec *vector;
	size_t count;

	if (!parent_get(argv[2], &mem_ctx) || ev == NULL || t == NULL || in_vector) {
		return;
	}
	if (kept_off(t, WRITE, ev, vector_bytes(argv[5])) && skip()) {
		return;
	}
	r = request_new(argv[1], "writev", WRITE, true, argv[6]);
	count = vector_parse(r, argv[5], true, NULL, &vector);
	request_started(r, t, ev, tstream_writev_send(mem_ctx, ev, t->ptr, vector, count));
	memset(vector, 0xff, count * sizeof(*vector));
}

/* disconnect R C E S K; monitor R C E S K */
static void simple(char **argv, const char *type, enum slot slot)
{
	TALLOC_CTX *mem_ctx;
	struct tevent_context *ev = object_get(argv[3], "ev");
	struct target *t = target_get(argv[4], false);

	if (!parent_get(argv[2], &mem_ctx) || ev == NULL || t == NULL || in_vector) {
		return;
	}
	if (kept_off(t, slot, ev, 0) && skip()) {
		return;
	}
	request_started(request_new(argv[1], type, slot, true, argv[5]), t, ev,
			slot == MONITOR ? tstream_monitor_send(mem_ctx, ev, t->ptr)
					: tstream_disconnect_send(mem_ctx, ev, t->ptr));
}

static void op_disconnect(int argc, char **argv)
{
	simple(argv, "disconnect", DISCONNECT);
}

static void op_monitor(int argc, char **argv)
{
	simple(argv, "monitor", MONITOR);
}

/* --- PDUs ------------------------------------------------------------------------------------------------------- */

#define PLANS_MAX 64
static struct {
	char name[NAME_MAX_BYTES];
	char **items;
} plans[PLANS_MAX];
static int plans_count;
static int vectors_count;

/* vectors V ITEM ... */
static void op_vectors(int argc, char **argv)
{
	int i;

	for (i = 0; i < plans_count && strcmp(plans[i].name, argv[1]) != 0; i++) {
	}
	if (i == PLANS_MAX) {
		program_aborts("too many plans");
	}
	plans_count += i == plans_count;
	snprintf(plans[i].name, sizeof(plans[i].name), "%s", argv[1]);
	plans[i].items = calloc(argc, sizeof(char *));
	for (int k = 2; k < argc; k++) {
		plans[i].items[k - 2] = strdup(argv[k]);
	}
}

static char **plan_get(const char *name)
{
	for (int i = 0; i < plans_count; i++) {
		if (strcmp(plans[i].name, name) == 0) {
			return plans[i].items;
		}
	}
	return NULL;
}

/*
 * The items of a plan: VECTOR on the context that is given, ^VECTOR on none and with a name, "." the end, !N the errno N, =N/VECTOR
 * returns N, &K runs the script K before the next item, "*" starts all over again.
 */
static int next_vector(struct tstream_context *stream, void *private_data, TALLOC_CTX *mem_ctx, struct iovec **vector,
		       size_t *count)
{
	struct request *r = private_data;
	const char *item;
	int ret = 0;

	saw("vector %s %d of %s", r->name, r->asked++, object_name(stream));
	*vector = NULL;
	*count = 0;
	if (r->asked > 50) {
		return 0;
	}
	while ((item = r->vectors[r->vector_at]) != NULL && *item == '&') {
		bool outer = in_vector;

		r->vector_at++;
		in_vector = true;
		run_script(item + 1);
		in_vector = outer;
	}
	if (item != NULL && *item == '*') {
		r->vector_at = 0;
		item = r->vectors[0];
	}
	if (item == NULL || *item == '.' || *item == '&' || *item == '*') {
		return 0;
	}
	r->vector_at++;
	if (*item == '!') {
		errno = atoi(item + 1);
		return -1;
	}
	if (*item == '=') {
		ret = atoi(item + 1);
		item = strchr(item, '/') + 1;
	}
	if (*item == '^') {
		mem_ctx = NULL;
		item++;
	}
	*count = vector_parse(r, item, false, mem_ctx, vector);
	if (mem_ctx == NULL) {
		char name[NAME_MAX_BYTES];
		snprintf(name, sizeof(name), "v%d", vectors_count++);
		object_add(name, "vector", *vector);
	}
	return ret;
}

/* pdu R C E S V K; pduq R C E S Q V K */
static void pdu(char **argv, bool queued)
{
	TALLOC_CTX *mem_ctx;
	struct tevent_context *ev = object_get(argv[3], "ev");
	struct target *t = target_get(argv[4], false);
	struct tevent_queue *queue = queued ? object_get(argv[5], "queue") : NULL;
	char **vectors = plan_get(argv[5 + queued]);
	struct request *r;
	struct tevent_req *req;

	if (!parent_get(argv[2], &mem_ctx) || ev == NULL || t == NULL || vectors == NULL || in_vector ||
	    (queued && queue == NULL)) {
		return;
	}
	if ((kept_off(t, READ, ev, 0) || (queued && queue_is_stale(queue))) && skip()) {
		return;
	}
	r = request_new(argv[1], queued ? "pduq" : "pdu", READ, false, argv[6 + queued]);
	r->queue = queue;
	r->vectors = vectors;
	r->at_once = !queued || (tevent_queue_length(queue) == 0 && tevent_queue_running(queue));
	req = queued ? tstream_readv_pdu_queue_send(mem_ctx, ev, t->ptr, queue, next_vector, r)
		     : tstream_readv_pdu_send(mem_ctx, ev, t->ptr, next_vector, r);
	request_started(r, t, ev, req);
}

static void op_pdu(int argc, char **argv)
{
	pdu(argv, false);
}

static void op_pduq(int argc, char **argv)
{
	pdu(argv, true);
}

/* --- queues ----------------------------------------------------------------------------------------------------- */

/* queue Q C */
static void op_queue(int argc, char **argv)
{
	TALLOC_CTX *mem_ctx;

	if (parent_get(argv[2], &mem_ctx)) {
		object_add(argv[1], "queue", tevent_queue_create(mem_ctx, "queue"));
	}
}

static void op_qstop(int argc, char **argv)
{
	struct tevent_queue *queue = object_get(argv[1], "queue");

	if (queue != NULL) {
		tevent_queue_stop(queue);
	}
}

static void op_qstart(int argc, char **argv)
{
	struct tevent_queue *queue = object_get(argv[1], "queue");

	if (queue != NULL && !in_vector) {
		tevent_queue_start(queue);
		saw("%s length=%zu", argv[1], tevent_queue_length(queue));
	}
}

static void op_qlen(int argc, char **argv)
{
	struct tevent_queue *queue = object_get(argv[1], "queue");

	if (queue != NULL) {
		saw("%s length=%zu running=%d", argv[1], tevent_queue_length(queue), tevent_queue_running(queue));
	}
}

/* writevq R C E S Q VECTOR K */
static void op_writevq(int argc, char **argv)
{
	TALLOC_CTX *mem_ctx;
	struct tevent_context *ev = object_get(argv[3], "ev");
	struct target *t = target_get(argv[4], false);
	struct tevent_queue *queue = object_get(argv[5], "queue");
	struct request *r;
	struct iovec *vector;
	size_t count;

	if (!parent_get(argv[2], &mem_ctx) || ev == NULL || t == NULL || queue == NULL || in_vector) {
		return;
	}
	if ((kept_off(t, WRITE, ev, vector_bytes(argv[6])) || queue_is_stale(queue)) && skip()) {
		return;
	}
	r = request_new(argv[1], "writevq", WRITE, false, argv[7]);
	r->queue = queue;
	r->at_once = tevent_queue_length(queue) == 0 && tevent_queue_running(queue);
	count = vector_parse(r, argv[6], true, NULL, &vector);
	request_started(r, t, ev, tstream_writev_queue_send(mem_ctx, ev, t->ptr, queue, vector, count));
}

/* change R: other bytes in the buffers of a request, which are looked at when its turn comes */
static void op_change(int argc, char **argv)
{
	struct request *r = request_get(argv[1]);
	const unsigned char *bytes;

	if (r == NULL || r->slot != WRITE || r->received) {
		return;
	}
	bytes = pattern_next();
	for (size_t i = 0; i < r->buffers_count; i++) {
		if (r->buffers[i].iov_len > 0) {
			memcpy(r->buffers[i].iov_base, bytes, r->buffers[i].iov_len);
			bytes += r->buffers[i].iov_len;
		}
	}
}

/* --- addresses -------------------------------------------------------------------------------------------------- */

/* An address that the kernel has filled in has a port that the kernel may have chosen. */
static void address_add(const char *name, struct tsocket_address *addr, bool from_kernel)
{
	struct object *object = object_add(name, "addr", addr);

	if (object != NULL) {
		object->more = from_kernel ? object : NULL;
	}
}

static bool from_kernel(const char *name)
{
	struct object *object = object_find(name);

	return object != NULL && object->more != NULL;
}

static void address_shown(const char *name, int ret, struct tsocket_address *addr)
{
	int err = errno;
	char *text;

	if (ret != 0) {
		saw("%s ret=%d e=%d", name, ret, err);
		return;
	}
	text = tsocket_address_string(addr, NULL);
	saw("%s ret=%d %s", name, ret, text == NULL ? "nothing" : shown(text, false));
	address_add(name, addr, false);
}

/* "null" is NULL. */
static const char *text_of(const char *word)
{
	return strcmp(word, "null") == 0 ? NULL : meant(word);
}

/* inet A C FAMILY TEXT PORT; hostport A C FAMILY TEXT PORT */
static void op_inet(int argc, char **argv)
{
	struct tsocket_address *addr = NULL;
	TALLOC_CTX *mem_ctx;
	int ret;

	if (parent_get(argv[2], &mem_ctx)) {
		errno = 0;
		ret = tsocket_address_inet_from_strings(mem_ctx, meant(argv[3]), text_of(argv[4]), atoi(argv[5]), &addr);
		address_shown(argv[1], ret, addr);
	}
}

static void op_hostport(int argc, char **argv)
{
	struct tsocket_address *addr = NULL;
	TALLOC_CTX *mem_ctx;
	int ret;

	if (parent_get(argv[2], &mem_ctx)) {
		errno = 0;
		ret = tsocket_address_inet_from_hostport_strings(mem_ctx, meant(argv[3]), text_of(argv[4]),
								 atoi(argv[5]), &addr);
		address_shown(argv[1], ret, addr);
	}
}

/* unix_path A C PATH */
static void op_unixaddr(int argc, char **argv)
{
	struct tsocket_address *addr = NULL;
	TALLOC_CTX *mem_ctx;
	int ret;

	if (parent_get(argv[2], &mem_ctx)) {
		errno = 0;
		ret = tsocket_address_unix_from_path(mem_ctx, text_of(argv[3]), &addr);
		address_shown(argv[1], ret, addr);
	}
}

/* sockaddr A C inet IP PORT; ... inet6 IP PORT FLOW SCOPE; ... unix TEXT; ... abstract TEXT; ... unspec */
static void op_sockaddr(int argc, char **argv)
{
	struct sockaddr_storage storage = { .ss_family = AF_UNSPEC };
	struct sockaddr_in *inet = (struct sockaddr_in *)&storage;
	struct sockaddr_in6 *inet6 = (struct sockaddr_in6 *)&storage;
	struct sockaddr_un *local = (struct sockaddr_un *)&storage;
	socklen_t length = sizeof(struct sockaddr_in);
	struct tsocket_address *addr = NULL;
	TALLOC_CTX *mem_ctx;
	int ret;

	if (!parent_get(argv[2], &mem_ctx)) {
		return;
	}
	if (strcmp(argv[3], "inet") == 0) {
		inet->sin_family = AF_INET;
		inet->sin_port = htons(atoi(argv[5]));
		inet_pton(AF_INET, meant(argv[4]), &inet->sin_addr);
	} else if (strcmp(argv[3], "inet6") == 0) {
		inet6->sin6_family = AF_INET6;
		inet6->sin6_port = htons(atoi(argv[5]));
		inet6->sin6_flowinfo = htonl(atoi(argv[6]));
		inet6->sin6_scope_id = strtoul(argv[7], NULL, 10);
		inet_pton(AF_INET6, argv[4], &inet6->sin6_addr);
		length = sizeof(*inet6);
	} else if (strcmp(argv[3], "unix") == 0 || strcmp(argv[3], "abstract") == 0) {
		const char *text = meant(argv[4]);
		int skip_nul = argv[3][0] == 'a';

		local->sun_family = AF_UNIX;
		memcpy(local->sun_path + skip_nul, text, strnlen(text, sizeof(local->sun_path) - skip_nul));
		length = offsetof(struct sockaddr_un, sun_path) + strlen(text) + (skip_nul || text[0] != '\0');
	}
	errno = 0;
	ret = tsocket_address_bsd_from_sockaddr(mem_ctx, (struct sockaddr *)&storage, length, &addr);
	address_shown(argv[1], ret, addr);
}

static struct tsocket_address *address_get(const char *name)
{
	return object_get(name, "addr");
}

/* show A: everything about an address */
static void op_show(int argc, char **argv)
{
	struct tsocket_address *addr = address_get(argv[1]);
	struct sockaddr_storage storage = { .ss_family = 0 };
	struct sockaddr_in *inet = (struct sockaddr_in *)&storage;
	struct sockaddr_in6 *inet6 = (struct sockaddr_in6 *)&storage;
	struct sockaddr_un *local = (struct sockaddr_un *)&storage;
	char ip[INET6_ADDRSTRLEN] = "";
	bool chosen = from_kernel(argv[1]);
	char *text;
	int port;
	ssize_t n;

	if (addr == NULL) {
		return;
	}
	errno = 0;
	text = tsocket_address_string(addr, NULL);
	saw("%s %s e=%d name=%s", argv[1], text == NULL ? "nothing" : shown(text, chosen), text == NULL ? errno : 0,
	    talloc_get_name(addr));
	saw("is ip=%d ipv4=%d ipv6=%d unix=%d", tsocket_address_is_inet(addr, "ip"), tsocket_address_is_inet(addr, "IPv4"),
	    tsocket_address_is_inet(addr, "ipv6"), tsocket_address_is_unix(addr));
	errno = 0;
	text = tsocket_address_inet_addr_string(addr, NULL);
	saw("host %s e=%d", text == NULL ? "nothing" : shown(text, false), text == NULL ? errno : 0);
	errno = 0;
	port = tsocket_address_inet_port(addr);
	saw("port %d e=%d", chosen && port >= 32768 ? -1 : port, port == 0 ? errno : 0);
	errno = 0;
	text = tsocket_address_unix_path(addr, NULL);
	saw("path %s e=%d", text == NULL ? "nothing" : shown(text, false), text == NULL ? errno : 0);
	errno = 0;
	n = tsocket_address_bsd_sockaddr(addr, (struct sockaddr *)&storage, sizeof(storage));
	if (n == -1) {
		saw("sockaddr -1 e=%d", errno);
	} else if (storage.ss_family == AF_INET) {
		inet_ntop(AF_INET, &inet->sin_addr, ip, sizeof(ip));
		port = ntohs(inet->sin_port);
		saw("sockaddr %zd 2 %s %d", n, shown(ip, false), chosen && port >= 32768 ? -1 : port);
	} else if (storage.ss_family == AF_INET6) {
		inet_ntop(AF_INET6, &inet6->sin6_addr, ip, sizeof(ip));
		port = ntohs(inet6->sin6_port);
		saw("sockaddr %zd 10 %s %d %u %u", n, ip, chosen && port >= 32768 ? -1 : port,
		    ntohl(inet6->sin6_flowinfo), inet6->sin6_scope_id);
	} else {
		size_t length = n > 2 ? n - 2 : 0;
		/* An abstract name is all of its bytes; the structure of a path ends where its text does. */
		bool abstract = n > 2 && local->sun_path[0] == '\0';

		saw("sockaddr %zd %d %s%s", n, storage.ss_family, abstract ? "abstract " : "",
		    abstract ? bytes_shown((unsigned char *)local->sun_path, length)
			     : shown(n > 2 ? local->sun_path : "", false));
	}
}

/* isinet A TEXT */
static void op_isinet(int argc, char **argv)
{
	struct tsocket_address *addr = address_get(argv[1]);

	if (addr != NULL) {
		saw("isinet %d", tsocket_address_is_inet(addr, meant(argv[2])));
	}
}

/* copy A C FROM */
static void op_copy(int argc, char **argv)
{
	struct tsocket_address *addr = address_get(argv[3]), *copy;
	bool chosen = from_kernel(argv[3]);
	TALLOC_CTX *mem_ctx;

	if (addr == NULL || !parent_get(argv[2], &mem_ctx)) {
		return;
	}
	errno = 0;
	copy = tsocket_address_copy(addr, mem_ctx);
	saw("copy %s e=%d", copy == NULL ? "nothing" : "made", copy == NULL ? errno : 0);
	address_add(argv[1], copy, chosen);
}

/* setport A PORT */
static void op_setport(int argc, char **argv)
{
	struct tsocket_address *addr = address_get(argv[1]);
	int ret;

	if (addr != NULL) {
		errno = 0;
		ret = tsocket_address_inet_set_port(addr, atoi(argv[2]));
		saw("setport %d e=%d", ret, ret == 0 ? 0 : errno);
		if (ret == 0) {
			object_find(argv[1])->more = NULL;
		}
	}
}

/* --- making streams --------------------------------------------------------------------------------------------- */

static void stream_made(const char *name, int ret, struct tstream_context *stream)
{
	saw("%s ret=%d e=%d %s", name, ret, ret == 0 ? 0 : errno, ret == 0 ? talloc_get_name(stream) : "");
	target_add(name, ret == 0 ? stream : NULL, false);
}

static void wire(const char *stream, TALLOC_CTX *mem_ctx, int fd, const char *raw_name, int raw_fd)
{
	struct tstream_context *made = NULL;
	struct raw *raw = raw_add(raw_name, raw_fd);
	int ret;

	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	ret = tstream_bsd_existing_socket(mem_ctx, fd, &made);
	stream_made(stream, ret, made);
	raw->peer = target_get(stream, false);
}

/* unix S C R [BUFFER]: one end of a socketpair; tcp S C R; pipe S C R r|w */
static void op_unix(int argc, char **argv)
{
	TALLOC_CTX *mem_ctx;
	int fds[2], size = atoi(argv[4]);

	if (!parent_get(argv[2], &mem_ctx) || in_vector || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == -1) {
		return;
	}
	if (size > 0) {
		setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
		setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	}
	wire(argv[1], mem_ctx, fds[0], argv[3], fds[1]);
}

static void op_tcp(int argc, char **argv)
{
	struct sockaddr_in name;
	socklen_t length = sizeof(name);
	TALLOC_CTX *mem_ctx;
	int listener, fd, raw;

	if (!parent_get(argv[2], &mem_ctx) || in_vector) {
		return;
	}
	listener = raw_inet_socket(SOCK_STREAM, own_host, 0);
	listen(listener, 1);
	getsockname(listener, (struct sockaddr *)&name, &length);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	connect(fd, (struct sockaddr *)&name, length);
	raw = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	close(listener);
	no_delay();
	wire(argv[1], mem_ctx, fd, argv[3], raw);
}

static void op_pipe(int argc, char **argv)
{
	TALLOC_CTX *mem_ctx;
	int fds[2];
	bool reads = argv[4][0] == 'r';

	if (parent_get(argv[2], &mem_ctx) && !in_vector && pipe2(fds, O_CLOEXEC) == 0) {
		wire(argv[1], mem_ctx, fds[!reads], argv[3], fds[reads]);
		target_get(argv[1], false)->odd = true;
		target_get(argv[1], false)->pipe_end = reads ? 'r' : 'w';
	}
}

/* twins S1 C1 S2 C2 */
static void op_twins(int argc, char **argv)
{
	struct tstream_context *one = NULL, *two = NULL;
	struct target *first, *second;
	TALLOC_CTX *ctx1, *ctx2;
	int ret;

	if (!parent_get(argv[2], &ctx1) || !parent_get(argv[4], &ctx2) || in_vector) {
		return;
	}
	ret = tstream_unix_socketpair(ctx1, &one, ctx2, &two);
	stream_made(argv[1], ret, one);
	stream_made(argv[3], ret, two);
	first = target_get(argv[1], false);
	second = target_get(argv[3], false);
	if (first != second) {
		first->twin = second;
		second->twin = first;
	}
}

/* badfd S C FD: a descriptor that is none */
static void op_badfd(int argc, char **argv)
{
	struct tstream_context *stream = NULL;
	TALLOC_CTX *mem_ctx;

	if (parent_get(argv[2], &mem_ctx)) {
		int ret = tstream_bsd_existing_socket(mem_ctx, atoi(argv[3]), &stream);
		stream_made(argv[1], ret, stream);
		target_get(argv[1], false)->odd = atoi(argv[3]) != -1;
	}
}

/* connect R C E inet|unix LOCAL REMOTE STREAM ADDRESS K */
static void op_connect(int argc, char **argv)
{
	TALLOC_CTX *mem_ctx;
	struct tevent_context *ev = object_get(argv[3], "ev");
	struct tsocket_address *local = address_get(argv[5]), *remote = address_get(argv[6]);
	struct request *r;
	struct tevent_req *req;
	bool inet = argv[4][0] == 'i';

	if (!parent_get(argv[2], &mem_ctx) || ev == NULL || local == NULL || remote == NULL || in_vector) {
		return;
	}
	inet_used |= inet;
	r = request_new(argv[1], "connect", OTHER, true, argv[9]);
	snprintf(r->stream_name, sizeof(r->stream_name), "%s", argv[7]);
	snprintf(r->local_name, sizeof(r->local_name), "%s", inet ? argv[8] : "");
	req = inet ? tstream_inet_tcp_connect_send(mem_ctx, ev, local, remote)
		   : tstream_unix_connect_send(mem_ctx, ev, local, remote);
	request_started(r, NULL, ev, req);
}

/* optimize S 0|1; failfirst S 0|1; pending S */
static void op_optimize(int argc, char **argv)
{
	struct target *t = target_get(argv[1], false);

	if (t != NULL) {
		saw("optimize was %d", tstream_bsd_optimize_readv(t->ptr, argv[2][0] == '1'));
	}
}

static void op_failfirst(int argc, char **argv)
{
	struct target *t = target_get(argv[1], false);

	if (t != NULL && !(!NEWER && skip())) {
		saw("failfirst was %d", tstream_bsd_fail_readv_first_error(t->ptr, argv[2][0] == '1'));
	}
}

static void op_pending(int argc, char **argv)
{
	struct target *t = target_get(argv[1], false);
	ssize_t n;

	if (t == NULL || (t->tainted && skip())) {
		return;
	}
	t->odd_failed |= t->odd && t->pipe_end == '\0';
	errno = 0;
	n = tstream_pending_bytes(t->ptr);
	saw("pending %zd e=%d", n, n == -1 ? errno : 0);
}

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

	if (parent_get(argv[2], &mem_ctx) &&
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
	if (kept_off(t, READ, ev, 0) && skip()) {
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

/* --- results ---------------------------------------------------------------------------------------------------- */

static void receive_connect(struct request *r, TALLOC_CTX *mem_ctx)
{
	struct tstream_context *stream = NULL;
	struct tsocket_address *local = NULL;
	int err = 0, ret;

	ret = r->local_name[0] != '\0' ? tstream_inet_tcp_connect_recv(r->req, &err, mem_ctx, &stream, &local)
				       : tstream_unix_connect_recv(r->req, &err, mem_ctx, &stream);
	saw("%s ret=%d e=%d stream=%s local=%s", r->name, ret, ret == -1 ? err : 0,
	    stream != NULL ? object_name(talloc_parent(stream)) : "no", local != NULL ? object_name(talloc_parent(local)) : "no");
	target_add(r->stream_name, stream, false);
	no_delay();
	if (local != NULL) {
		saw("local %s", shown(tsocket_address_string(local, NULL), true));
		address_add(r->local_name, local, true);
	}
}

static void receive_datagram(struct request *r, TALLOC_CTX *mem_ctx)
{
	struct tsocket_address *src = NULL;
	uint8_t *buf = NULL;
	int err = 0;
	ssize_t n = tdgram_recvfrom_recv(r->req, &err, mem_ctx, &buf, &src);
	char *text;

	if (n == -1) {
		saw("%s ret=-1 e=%d", r->name, err);
		return;
	}
	text = tsocket_address_string(src, NULL);
	saw("%s ret=%zd %s from %s parents %s %s sizes %zu %s", r->name, n, bytes_shown(buf, n),
	    text == NULL ? "nobody" : shown(text, true), object_name(talloc_parent(buf)), object_name(talloc_parent(src)),
	    talloc_get_size(buf), talloc_get_name(buf));
	address_add(r->local_name, src, true);
}

static void receive(struct request *r, TALLOC_CTX *mem_ctx)
{
	int err = 0;
	ssize_t n;

	r->received = true;
	if (strcmp(r->type, "connect") == 0) {
		receive_connect(r, mem_ctx);
		return;
	}
	if (strcmp(r->type, "recvfrom") == 0) {
		receive_datagram(r, mem_ctx);
		return;
	}
	if (strcmp(r->type, "readv") == 0) {
		n = tstream_readv_recv(r->req, &err);
	} else if (strcmp(r->type, "writev") == 0) {
		n = tstream_writev_recv(r->req, &err);
	} else if (strcmp(r->type, "disconnect") == 0) {
		n = tstream_disconnect_recv(r->req, &err);
	} else if (strcmp(r->type, "monitor") == 0) {
		n = tstream_monitor_recv(r->req, &err);
	} else if (strcmp(r->type, "pdu") == 0) {
		n = tstream_readv_pdu_recv(r->req, &err);
	} else if (strcmp(r->type, "pduq") == 0) {
		n = tstream_readv_pdu_queue_recv(r->req, &err);
	} else if (strcmp(r->type, "writevq") == 0) {
		n = tstream_writev_queue_recv(r->req, &err);
	} else if (strcmp(r->type, "sendto") == 0) {
		n = tdgram_sendto_recv(r->req, &err);
	} else if (strcmp(r->type, "sendtoq") == 0) {
		n = tdgram_sendto_queue_recv(r->req, &err);
	} else {
		n = tdgram_disconnect_recv(r->req, &err);
	}
	saw("%s ret=%zd e=%d %s", r->name, n, n == -1 ? err : 0, r->slot == READ ? buffers_shown(r) : "");
}

/* recv R C */
static void op_recv(int argc, char **argv)
{
	struct request *r = request_get(argv[1]);
	TALLOC_CTX *mem_ctx;

	if (r == NULL || in_vector || !parent_get(argv[2][0] == '\0' ? "r" : argv[2], &mem_ctx)) {
		return;
	}
	if (r->early && !r->called && skip()) {
		return;
	}
	/* One that waits in a queue would be started all the same, and abort then. */
	if (r->queue != NULL && !r->at_once && tevent_req_is_in_progress(r->req) && skip()) {
		return;
	}
	/* What a finished connect holds is handed out by its callback. */
	if (strcmp(r->type, "connect") != 0 && !r->received_at_once) {
		receive(r, mem_ctx);
	}
}

/* simple R: tsocket_simple_int_recv() */
static void op_simple(int argc, char **argv)
{
	struct request *r = request_get(argv[1]);
	int err = 0, ret;

	if (r == NULL || (r->early && !r->called && skip())) {
		return;
	}
	ret = tsocket_simple_int_recv(r->req, &err);
	saw("simple %s ret=%d e=%d", r->name, ret, ret == -1 ? err : 0);
}

/* --- anything --------------------------------------------------------------------------------------------------- */

static void op_ctx(int argc, char **argv)
{
	TALLOC_CTX *mem_ctx;

	if (parent_get(argv[2], &mem_ctx)) {
		object_add(argv[1], "ctx", talloc_new(mem_ctx));
	}
}

static void op_free(int argc, char **argv)
{
	struct object *object = object_find(argv[1]);

	if (object == NULL || in_vector || strcmp(object->kind, "ev") == 0 || strcmp(object->kind, "vector") == 0) {
		return;
	}
	if (undefined_to_free(object->ptr) && skip()) {
		return;
	}
	saw("free %d", talloc_free(object->ptr));
	settle();
}

/* steal X C */
static void op_steal(int argc, char **argv)
{
	struct object *object = object_find(argv[1]);
	TALLOC_CTX *mem_ctx;

	if (object == NULL || strcmp(object->kind, "ctx") == 0 || strcmp(object->kind, "ev") == 0 ||
	    strcmp(object->kind, "vector") == 0 || in_vector ||
	    !parent_get(argv[2], &mem_ctx)) {
		return;
	}
	talloc_steal(mem_ctx, object->ptr);
}

static void op_parent(int argc, char **argv)
{
	struct object *object = object_find(argv[1]);

	if (object != NULL) {
		saw("parent %s name %s", object_name(talloc_parent(object->ptr)), talloc_get_name(object->ptr));
	}
}

static void op_inprog(int argc, char **argv)
{
	struct request *r = request_get(argv[1]);

	if (r != NULL && !(r->early && !r->called && skip())) {
		saw("inprog %d", tevent_req_is_in_progress(r->req));
	}
}

static void op_cancel(int argc, char **argv)
{
	struct request *r = request_get(argv[1]);

	if (r != NULL && !in_vector) {
		saw("cancel %d", tevent_req_cancel(r->req));
	}
}

/* endtime R E MICROSECONDS */
static void op_endtime(int argc, char **argv)
{
	struct request *r = request_get(argv[1]);
	struct tevent_context *ev = object_get(argv[2], "ev");

	if (r == NULL || ev == NULL || in_vector || !request_runs(r) || (r->early && !r->called && skip())) {
		return;
	}
	/* One that waits in a queue would be started all the same. */
	if (r->queue != NULL && !r->at_once && skip()) {
		return;
	}
	saw("endtime %d", tevent_req_set_endtime(r->req, ev, tevent_timeval_current_ofs(0, atoi(argv[3]))));
}

/* tick MICROSECONDS */
static void op_tick(int argc, char **argv)
{
	clock_us += atoi(argv[1]);
}

static void on_stop(struct tevent_context *ev, struct tevent_timer *te, struct timeval now, void *private_data)
{
	*(bool *)private_data = true;
}

/* One iteration, which never waits; false when there was nothing to do. */
static bool one_turn(struct tevent_context *ev, int *ret)
{
	bool idle = false;
	struct tevent_timer *te = tevent_add_timer(ev, ev, tevent_timeval_current_ofs(0, 1000), on_stop, &idle);

	*ret = tevent_loop_once(ev);
	if (!idle) {
		talloc_free(te);
	}
	return !idle;
}

/*
 * The older library is woken up more often while a write is blocked or a peer is gone, for nothing, and not in the same
 * order where there are several streams. All that there is to do is one turn then.
 */
static bool turns_count(void)
{
	int waited = 0;

	for (int i = 0; !NEWER && i < targets_count; i++) {
		const struct target *t = targets[i];
		if (!t->is_dgram && target_lives(t) && t->waited && (peer_is_bad(t) || writes(t) || waited++)) {
			return false;
		}
	}
	return true;
}

#define DRAIN_TURNS_MAX 100

/* turn E */
static void op_turn(int argc, char **argv)
{
	struct tevent_context *ev = object_get(argv[1], "ev");
	int64_t begun = clock_us;
	bool idle, count;
	int ret, turns = 0;

	if (ev == NULL || ((in_turn || !note_taint(ev)) && skip())) {
		return;
	}
	count = turns_count();
	in_turn = true;
	do {
		idle = !one_turn(ev, &ret);
	} while (!idle && !count && ++turns < DRAIN_TURNS_MAX);
	in_turn = false;
	note_turn(strcmp(argv[1], "e") != 0);
	/* A turn is a millisecond, whether or not it found something to do. */
	clock_us = begun + 1000;
	saw("turn %d%s", ret, NEWER && idle ? " idle" : "");
	settle();
}

static void op_ev(int argc, char **argv)
{
	object_add(argv[1], "ev", tevent_context_init(NULL));
	two_contexts = true;
}

/* rclose R; rreset R; rshut R r|w|b */
static void op_rclose(int argc, char **argv)
{
	struct raw *raw = raw_get(argv[1]);
	struct linger linger = { .l_onoff = 1, .l_linger = 0 };

	if (raw == NULL || (peer_must_stay(raw) && skip())) {
		return;
	}
	if (strcmp(argv[0], "rreset") == 0) {
		setsockopt(raw->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	}
	close(raw->fd);
	raw->fd = -1;
	if (raw->peer != NULL) {
		raw->peer->peer_bad = true;
	}
	settle();
}

static void op_rshut(int argc, char **argv)
{
	struct raw *raw = raw_get(argv[1]);

	if (raw == NULL || (peer_must_stay(raw) && skip())) {
		return;
	}
	if (shutdown(raw->fd, argv[2][0] == 'r' ? SHUT_RD : argv[2][0] == 'w' ? SHUT_WR : SHUT_RDWR) == -1) {
		saw("shutdown e=%d", errno);
	}
	if (raw->peer != NULL) {
		raw->peer->peer_bad = true;
		if (argv[2][0] == 'r') {
			/* Its writes fail from now on, and nothing tells the loop. */
			raw->peer->odd = true;
			raw->peer->pipe_end = 'r';
			raw->peer->odd_failed |= writes(raw->peer);
		}
	}
	settle();
}

static const struct operation operations[] = {
	{ "accept", op_accept }, { "badfd", op_badfd }, { "cancel", op_cancel }, { "change", op_change },
	{ "connect", op_connect }, { "copy", op_copy }, { "ctx", op_ctx }, { "dbad", op_dbad },
	{ "ddisconnect", op_ddisconnect }, { "dgram", op_dgram }, { "disconnect", op_disconnect },
	{ "doptimize", op_doptimize }, { "dpair", op_dpair }, { "endtime", op_endtime }, { "ev", op_ev },
	{ "exists", op_exists }, { "failfirst", op_failfirst }, { "file", op_file }, { "free", op_free },
	{ "hostport", op_hostport }, { "inet", op_inet }, { "inprog", op_inprog }, { "isinet", op_isinet },
	{ "listen", op_listen }, { "monitor", op_monitor }, { "optimize", op_optimize }, { "parent", op_parent },
	{ "pdu", op_pdu }, { "pduq", op_pduq }, { "pending", op_pending }, { "pipe", op_pipe }, { "qlen", op_qlen },
	{ "qstart", op_qstart }, { "qstop", op_qstop }, { "queue", op_queue }, { "rclose", op_rclose },
	{ "rdgram", op_rdgram }, { "readv", op_readv }, { "recv", op_recv }, { "recvfrom", op_recvfrom },
	{ "rin", op_rin }, { "rread", op_rread }, { "rrecv", op_rrecv }, { "rreset", op_rclose },
	{ "rsendto", op_rsendto }, { "rshut", op_rshut }, { "rwrite", op_rwrite }, { "sendto", op_sendto },
	{ "sendtoq", op_sendtoq }, { "setport", op_setport }, { "show", op_show }, { "simple", op_simple },
	{ "sockaddr", op_sockaddr }, { "steal", op_steal }, { "tcp", op_tcp }, { "tick", op_tick }, { "turn", op_turn },
	{ "twins", op_twins }, { "unix", op_unix }, { "unixaddr", op_unixaddr }, { "unlink", op_unlink },
	{ "vectors", op_vectors }, { "writev", op_writev }, { "writevq", op_writevq }, { NULL, NULL },
};

static void streams_abort(const char *reason)
{
	folder_remove();
	program_aborts(reason);
}

static void area_begin(void)
{
	raw_begin();
	talloc_set_abort_fn(streams_abort);
	tevent_set_abort_fn(streams_abort);
	descriptors_at_begin = descriptors_open();
	object_add("r", "ctx", talloc_new(NULL));
	object_add("e", "ev", tevent_context_init(NULL));
}

static void area_end(void)
{
	for (int pass = 0; pass < 2; pass++) {
		for (int i = 0; i < objects_count; i++) {
			void *ptr = objects[i].ptr;
			if (ptr != NULL && !chunk_is_dead(ptr) && (pass == 1 || strcmp(objects[i].kind, "ev") != 0)) {
				talloc_free(ptr);
			}
		}
	}
	for (int i = 0; i < raws_count; i++) {
		close(raws[i].fd);
	}
	close(marker[0]);
	saw("left open %d", descriptors_open() - descriptors_at_begin);
	folder_remove();
}

int main(void)
{
	return driver_main();
}
