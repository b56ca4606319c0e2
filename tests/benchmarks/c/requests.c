/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The whole life of requests with the C library: requests DEPTH COUNT. */
#include "common.h"

struct foo_state {
	int value;
};

struct work {
	TALLOC_CTX *top;
	struct tevent_context *ev;
	int depth;
	long left;
};

static void foo_done(struct tevent_req *subreq);

static struct tevent_req *foo_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev, int depth)
{
	struct tevent_req *req, *subreq;
	struct foo_state *state;

	req = tevent_req_create(mem_ctx, &state, struct foo_state);
	if (req == NULL) {
		return NULL;
	}
	state->value = depth;
	if (depth == 1) {
		tevent_req_done(req);
		return tevent_req_post(req, ev);
	}
	subreq = foo_send(state, ev, depth - 1);
	if (tevent_req_nomem(subreq, req)) {
		return tevent_req_post(req, ev);
	}
	tevent_req_set_callback(subreq, foo_done, req);
	return req;
}

static int simple_recv_unix(struct tevent_req *req)
{
	enum tevent_req_state state;
	uint64_t error = 0;

	if (tevent_req_is_error(req, &state, &error)) {
		return error ? (int)error : EIO;
	}
	tevent_req_received(req);
	return 0;
}

static void foo_done(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(subreq, struct tevent_req);
	struct foo_state *state = tevent_req_data(req, struct foo_state);
	int err = simple_recv_unix(subreq);

	TALLOC_FREE(subreq);
	check(err == 0, "foo");
	state->value += 1;
	tevent_req_done(req);
}

static void finished(struct tevent_req *req);

static void start(struct work *work)
{
	tevent_req_set_callback(foo_send(work->top, work->ev, work->depth), finished, work);
}

static void finished(struct tevent_req *req)
{
	struct work *work = tevent_req_callback_data_void(req);

	check(simple_recv_unix(req) == 0, "foo");
	TALLOC_FREE(req);
	work->left--;
	if (work->left != 0) {
		start(work);
	}
}

static void run(struct work *work, long total)
{
	work->left = total;
	start(work);
	tevent_loop_wait(work->ev);
}

int main(int argc, char **argv)
{
	long count = count_argument(argc, argv, 3);
	struct work work = {.depth = atoi(argv[1])};
	struct stopwatch watch = {0};

	work.top = talloc_new(NULL);
	work.ev = tevent_context_init(work.top);
	run(&work, 1000);
	stopwatch_start(&watch);
	run(&work, count);
	stopwatch_stop(&watch);
	stopwatch_print(&watch, count);
	return 0;
}
