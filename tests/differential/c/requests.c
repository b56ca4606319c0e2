/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * The real tevent_req, tevent_queue and the helpers around them: the driver of the area "requests".
 *
 * What each operation takes is said at its function; what it does to whom, in requests_world.h.
 */
#include "requests_world.h"
#include "requests_profiles.h"
#include "requests_queues.h"

/* --- contexts, chunks, events ----------------------------------------------------------------------------------- */

/*
 * ev E root|-: what uses it must not outlive it, so it has no other owners. A program has several contexts or one and
 * wrappers of it: in C an immediate never gets rid of a wrapper through which it was scheduled once.
 */
static bool has_wrappers;
static int contexts = 1;

static void op_ev(int argc, char **argv)
{
	if (object_find(argv[1]) == NULL && !has_wrappers) {
		contexts++;
		add(argv[1], "ev", tevent_context_init_byname(strcmp(argv[2], "root") == 0 ? root : NULL, "epoll"));
	}
}

/* wrapper E MAIN root|-: a wrapper context */
static void op_wrapper(int argc, char **argv)
{
	struct tevent_context *main_ev = ev_get(argv[2]);
	struct foo_state *state;

	if (object_find(argv[1]) == NULL && main_ev != NULL && contexts == 1) {
		void *owner = strcmp(argv[3], "root") == 0 ? root : NULL;
		struct tevent_context *ev = tevent_context_wrapper_create(main_ev, owner, &wrapper_ops, &state,
									  struct foo_state);
		has_wrappers = true;
		saw("wrapper -> %d", ev != NULL);
		add(argv[1], "ev", ev);
		if (ev != NULL) {
			note_of(ev)->main = object_of(main_ev);
		}
	}
}

/* chunk C OWNER SCRIPT: the script runs as its destructor */
static void op_chunk(int argc, char **argv)
{
	void *owner, *ptr;

	if (object_find(argv[1]) != NULL || !owner_get(argv[2], &owner)) {
		return;
	}
	ptr = talloc_named_const(owner, 1, "chunk");
	add(argv[1], "chunk", ptr);
	remember(note_of(ptr)->destructor, argv[3]);
	if (strcmp(argv[3], "-") != 0) {
		talloc_set_destructor((char *)ptr, (int (*)(char *))on_destructor);
	}
}

/* destructor X SCRIPT: of a chunk, a state, or of a request in the place of its own */
static void op_destructor(int argc, char **argv)
{
	struct object *object = object_find(argv[1]);
	struct note *note;

	if (object == NULL || in_destructor(object->ptr) ||
	    (strcmp(object->kind, "chunk") != 0 && strcmp(object->kind, "req") != 0 &&
	     strcmp(object->kind, "state") != 0)) {
		return;
	}
	note = object->more;
	remember(note->destructor, argv[2]);
	talloc_set_destructor((char *)object->ptr,
			      strcmp(argv[2], "-") == 0 ? NULL : (int (*)(char *))on_destructor);
}

/* imm I OWNER */
static void op_imm(int argc, char **argv)
{
	void *owner;

	if (object_find(argv[1]) == NULL && owner_get(argv[2], &owner)) {
		add(argv[1], "imm", tevent_create_immediate(owner));
	}
}

/* schedule I E SCRIPT: "-" cancels; not through a wrapper, which in C the immediate then never gets rid of */
static void op_schedule(int argc, char **argv)
{
	struct tevent_immediate *im = get(argv[1], "imm");
	struct tevent_context *ev = ev_get(argv[2]);

	if (im == NULL || ev == NULL || note_of(im)->doomed) {
		return;
	}
	if (strcmp(argv[3], "-") == 0) {
		if (note_of(ev)->main == NULL) {
			tevent_schedule_immediate(im, ev, NULL, NULL);
		}
	} else {
		tevent_schedule_immediate(im, ev, on_immediate, script_chunk(argv[3]));
	}
}

/* timer T OWNER E MICROSECONDS SCRIPT */
static void op_timer(int argc, char **argv)
{
	struct tevent_context *ev = ev_get(argv[3]);
	void *owner;

	if (object_find(argv[1]) == NULL && owner_get(argv[2], &owner) && ev != NULL) {
		add(argv[1], "timer",
		    tevent_add_timer(ev, owner, in_us(argv[4]), on_timer, script_chunk(argv[5])));
	}
}

/* free X */
static void op_free(int argc, char **argv)
{
	struct object *object = object_find(argv[1]);
	int result;

	if (object == NULL) {
		return;
	}
	/* A state is its request's, until that is gone. */
	if (strcmp(object->kind, "state") == 0 && object_of_state(argv[1]) != NULL) {
		return;
	}
	if (!may_free(object->ptr)) {
		saw("free %s refused", argv[1]);
		return;
	}
	freeing++;
	result = talloc_free(object->ptr);
	freeing--;
	saw("free %s -> %d", argv[1], result);
	if (result == -1 && strcmp(object->kind, "imm") == 0 && object->ptr != NULL) {
		((struct note *)object->more)->doomed = true;
	}
}

/* steal X OWNER */
static void op_steal(int argc, char **argv)
{
	struct object *object = object_find(argv[1]);
	void *owner;

	if (object == NULL || !owner_get(argv[2], &owner) || strcmp(object->kind, "state") == 0 ||
	    strcmp(object->kind, "entry") == 0 || strcmp(object->kind, "profile") == 0 ||
	    strcmp(object->kind, "ev") == 0) {
		return;
	}
	if (freeing > 0 || ((struct note *)object->more)->holds || (owner != NULL && talloc_is_parent(owner, object->ptr))) {
		return;
	}
	talloc_steal(owner, object->ptr);
}

/*
 * reference X C; unlink X OWNER: C is a chunk of the root, which from then on is not moved, so that nobody becomes, by
 * whatever way, an owner of itself.
 */
static void op_reference(int argc, char **argv)
{
	struct object *object = object_find(argv[1]);
	void *owner = get(argv[2], "chunk");

	if (object == NULL || owner == NULL || strcmp(object->kind, "entry") == 0 ||
	    strcmp(object->kind, "profile") == 0 || strcmp(object->kind, "ev") == 0) {
		return;
	}
	/* Nor does anything hold on to what may be dying. */
	if (freeing == 0 && owner != object->ptr && talloc_parent(owner) == root) {
		note_of(owner)->holds = true;
		saw("reference -> %d", talloc_reference(owner, object->ptr) == object->ptr);
	}
}

static void op_unlink(int argc, char **argv)
{
	struct object *object = object_find(argv[1]);
	void *owner;

	if (object == NULL || !owner_get(argv[2], &owner) || owner == NULL || strcmp(object->kind, "entry") == 0 ||
	    strcmp(object->kind, "ev") == 0) {
		return;
	}
	if (strcmp(object->kind, "state") == 0 && object_of_state(argv[1]) != NULL) {
		return;
	}
	if (!is_going(object->ptr) && may_free(object->ptr)) {
		int result;

		freeing++;
		result = talloc_unlink(owner, object->ptr);
		freeing--;
		saw("unlink %s -> %d", argv[1], result);
	}
}

/* loop E ITERATIONS [nested] */
static void op_loop(int argc, char **argv)
{
	struct tevent_context *ev = main_get(argv[1]);
	int i, count = atoi(argv[2]);
	struct note *note;

	if (ev == NULL) {
		return;
	}
	note = note_of(ev);
	if (!may_loop() || (note->loops > 0 && strcmp(argv[3], "nested") != 0)) {
		return;
	}
	for (i = 0; i < count; i++) {
		bool outer = known;
		int result;

		known = false;
		loops++;
		note->loops++;
		result = tevent_loop_once(ev);
		note->loops--;
		loops--;
		known = outer;
		saw("loop %d at %lld", result, (long long)clock_us);
		objects_scan();
	}
}

/* advance MICROSECONDS */
static void op_advance(int argc, char **argv)
{
	clock_us += atoll(argv[1]);
}

/* --- requests --------------------------------------------------------------------------------------------------- */

/* req R OWNER foo|bar: its state becomes an object, too */
static void op_req(int argc, char **argv)
{
	char state_name[NAME_MAX_BYTES];
	struct tevent_req *req;
	void *owner, *state;

	snprintf(state_name, sizeof(state_name), "s%s", argv[1] + 1);
	if (object_find(argv[1]) != NULL || object_find(state_name) != NULL || !owner_get(argv[2], &owner)) {
		return;
	}
	if (strcmp(argv[3], "foo") == 0) {
		req = _tevent_req_create(owner, &state, sizeof(struct foo_state), "struct foo_state", "req:1");
	} else {
		req = _tevent_req_create(owner, &state, sizeof(struct bar_state), "struct bar_state", "req:1");
	}
	add(argv[1], "req", req);
	note_of(req)->has_state = true;
	add(state_name, "state", state);
}

/* wakeup R OWNER E MICROSECONDS */
static void op_wakeup(int argc, char **argv)
{
	struct tevent_context *ev = ev_get(argv[3]);
	void *owner;

	if (object_find(argv[1]) == NULL && owner_get(argv[2], &owner) && ev != NULL) {
		struct tevent_req *req = tevent_wakeup_send(owner, ev, in_us(argv[4]));
		add(argv[1], "req", req);
		note_of(req)->timed = true;
	}
}

/* wait R OWNER E Q */
static void op_wait(int argc, char **argv)
{
	struct tevent_context *ev = ev_keep(argv[3]);
	struct tevent_queue *queue = get(argv[4], "queue");
	void *owner;

	if (object_find(argv[1]) == NULL && owner_get(argv[2], &owner) && ev != NULL && queue != NULL) {
		add(argv[1], "req", tevent_queue_wait_send(owner, ev, queue));
	}
}

/* callback R SCRIPT [R2]: R2 is the private data; SCRIPT "-" is no function, private data none */
static void op_callback(int argc, char **argv)
{
	struct tevent_req *req = req_get(argv[1]);
	struct tevent_req *pvt = req_get(argv[3]);
	struct note *note;

	if (req == NULL) {
		return;
	}
	note = note_of(req);
	remember(note->callback, argv[2]);
	note->pvt = NULL;
	note->pvt_ptr = NULL;
	if (strcmp(argv[2], "-") == 0) {
		tevent_req_set_callback(req, NULL, NULL);
		return;
	}
	if (pvt != NULL) {
		note->pvt = object_of(pvt);
		note->pvt_ptr = pvt;
	} else {
		note->pvt_ptr = script_chunk(argv[2]);
	}
	tevent_req_set_callback(req, on_callback, (void *)note->pvt_ptr);
}

/* cleanup R SCRIPT */
static void op_cleanup(int argc, char **argv)
{
	struct tevent_req *req = req_get(argv[1]);

	if (req != NULL) {
		remember(note_of(req)->cleanup, argv[2]);
		tevent_req_set_cleanup_fn(req, strcmp(argv[2], "-") == 0 ? NULL : on_cleanup);
	}
}

/* cancelfn R SCRIPT: what the script returns is the answer */
static void op_cancelfn(int argc, char **argv)
{
	struct tevent_req *req = req_get(argv[1]);

	if (req != NULL) {
		remember(note_of(req)->cancel, argv[2]);
		tevent_req_set_cancel_fn(req, strcmp(argv[2], "-") == 0 ? NULL : on_cancel);
	}
}

/* printfn R SCRIPT */
static void op_printfn(int argc, char **argv)
{
	struct tevent_req *req = req_get(argv[1]);

	if (req != NULL) {
		remember(note_of(req)->print, argv[2]);
		tevent_req_set_print_fn(req, strcmp(argv[2], "-") == 0 ? NULL : on_print);
	}
}

/* done R; oom R; nomem R 0|1; notify R */
static void op_done(int argc, char **argv)
{
	struct tevent_req *req = req_to_finish(argv[1]);

	if (req != NULL) {
		_tevent_req_done(req, "done:1");
	}
}

static void op_oom(int argc, char **argv)
{
	struct tevent_req *req = req_to_finish(argv[1]);

	if (req != NULL) {
		_tevent_req_oom(req, "oom:1");
	}
}

static void op_nomem(int argc, char **argv)
{
	struct tevent_req *req = req_to_finish(argv[1]);

	if (req != NULL) {
		bool result = _tevent_req_nomem(strcmp(argv[2], "0") == 0 ? NULL : root, req, "nomem:1");
		saw("nomem -> %d", result);
	}
}

static void op_notify(int argc, char **argv)
{
	struct tevent_req *req = req_to_finish(argv[1]);

	if (req != NULL) {
		_tevent_req_notify_callback(req, "notify:1");
	}
}

/* error R NUMBER; nterror R NUMBER; werror R NUMBER */
static void op_error(int argc, char **argv)
{
	struct tevent_req *req = req_to_finish(argv[1]);

	if (req != NULL) {
		bool result = _tevent_req_error(req, strtoull(argv[2], NULL, 0), "error:1");
		saw("error -> %d", result);
	}
}

static void op_nterror(int argc, char **argv)
{
	struct tevent_req *req = req_to_finish(argv[1]);

	if (req != NULL) {
		bool result = _tevent_req_nterror(req, NT_STATUS((uint32_t)strtoull(argv[2], NULL, 0)), "nterror:1");
		saw("nterror -> %d", result);
	}
}

static void op_werror(int argc, char **argv)
{
	struct tevent_req *req = req_to_finish(argv[1]);

	if (req != NULL) {
		bool result = _tevent_req_werror(req, W_ERROR((uint32_t)strtoull(argv[2], NULL, 0)), "werror:1");
		saw("werror -> %d", result);
	}
}

/* post R E [blind]: blind, also a request that was received */
static void op_post(int argc, char **argv)
{
	struct tevent_req *req = req_get(argv[1]);
	struct tevent_context *ev = ev_get(argv[2]);

	if (req != NULL && ev != NULL && (!is_received(req) || is_blind(argv[3]))) {
		bool same = tevent_req_post(req, ev) == req;
		saw("post -> %d", same);
	}
}

/* defer R E [blind]: "-" takes it back */
static void op_defer(int argc, char **argv)
{
	struct tevent_req *req = req_get(argv[1]);
	struct tevent_context *ev = ev_keep(argv[2]);

	if (req == NULL || (ev == NULL && strcmp(argv[2], "-") != 0)) {
		return;
	}
	if (is_received(req) && !is_blind(argv[3])) {
		return;
	}
	note_of(req)->deferred = !is_blind(argv[3]);
	tevent_req_defer_callback(req, ev);
}

/* endtime R E MICROSECONDS */
static void op_endtime(int argc, char **argv)
{
	struct tevent_req *req = req_to_finish(argv[1]);
	struct tevent_context *ev = ev_get(argv[2]);

	if (req != NULL && ev != NULL) {
		bool result;

		note_of(req)->timed = true;
		result = tevent_req_set_endtime(req, ev, in_us(argv[3]));
		saw("endtime -> %d", result);
	}
}

/* reset R */
static void op_reset(int argc, char **argv)
{
	struct tevent_req *req = req_get(argv[1]);

	if (req != NULL) {
		tevent_req_reset_endtime(req);
	}
}

/* cancel R */
static void op_cancel(int argc, char **argv)
{
	struct tevent_req *req = req_get(argv[1]);

	if (req != NULL) {
		bool result = _tevent_req_cancel(req, "cancel:1");
		saw("cancel -> %d", result);
	}
}

/* received R */
static void op_received(int argc, char **argv)
{
	struct tevent_req *req = req_get(argv[1]);

	if (req != NULL && may_receive(req)) {
		note_of(req)->received = true;
		pin(req);
		freeing++;
		tevent_req_received(req);
		freeing--;
		unpin();
	}
}

/* Its error is no NTSTATUS, which is answered by abort(). */
static bool is_no_status(struct tevent_req *req)
{
	enum tevent_req_state status;
	uint64_t error = 0;

	return tevent_req_is_error(req, &status, &error) && status == TEVENT_REQ_USER_ERROR &&
	       error >> 32 != 0x917B5ACD;
}

/* recv R unix|nt|werror|wait|wakeup [blind] */
static void op_recv(int argc, char **argv)
{
	struct tevent_req *req = req_get(argv[1]);
	long long result = 0;

	if (req == NULL || !may_receive(req) ||
	    (strcmp(argv[2], "nt") == 0 && is_no_status(req) && !is_blind(argv[3]))) {
		return;
	}
	note_of(req)->received = note_of(req)->received || strcmp(argv[2], "wakeup") != 0;
	pin(req);
	freeing++;
	if (strcmp(argv[2], "unix") == 0) {
		result = tevent_req_simple_recv_unix(req);
	} else if (strcmp(argv[2], "nt") == 0) {
		result = NT_STATUS_V(tevent_req_simple_recv_ntstatus(req));
	} else if (strcmp(argv[2], "werror") == 0) {
		result = W_ERROR_V(tevent_req_simple_recv_werror(req));
	} else if (strcmp(argv[2], "wait") == 0) {
		result = tevent_queue_wait_recv(req);
	} else {
		result = tevent_wakeup_recv(req);
	}
	freeing--;
	unpin();
	saw("recv %s -> %lld", argv[2], result);
}

/* finish R nt|werror NUMBER: R is freed, and its private data, a request, finished */
static void op_finish(int argc, char **argv)
{
	struct tevent_req *subreq = req_get(argv[1]);
	uint32_t number = strtoull(argv[3], NULL, 0);
	struct note *note;
	struct tevent_req *req;

	if (subreq == NULL || in_destructor(subreq) || !may_free(subreq)) {
		return;
	}
	note = note_of(subreq);
	if (note->pvt == NULL || note->pvt->ptr == NULL) {
		return;
	}
	req = note->pvt->ptr;
	if (talloc_is_parent(req, subreq)) {
		return;
	}
	pin(req);
	freeing++;
	if (strcmp(argv[2], "nt") == 0) {
		tevent_req_simple_finish_ntstatus(subreq, NT_STATUS(number));
	} else {
		tevent_req_simple_finish_werror(subreq, W_ERROR(number));
	}
	freeing--;
	unpin();
}

/* poll R E plain|unix|nt|werror [nested]: a minute later the request is finished by a timer, so that it ends */
static bool guard_fired;

static void on_guard(struct tevent_context *ev, struct tevent_timer *te, struct timeval now, void *private_data)
{
	guard_fired = true;
	_tevent_req_error(talloc_get_type_abort(private_data, struct tevent_req), 4000, "guard:1");
}

static void op_poll(int argc, char **argv)
{
	struct tevent_req *req = req_get(argv[1]);
	struct tevent_context *ev = main_get(argv[2]);
	bool outer = known, outer_guard = guard_fired, result;
	struct tevent_timer *guard;
	struct note *note;
	long long error = 0;

	if (req == NULL || ev == NULL) {
		return;
	}
	note = note_of(ev);
	if (!may_loop() || (note->loops > 0 && strcmp(argv[4], "nested") != 0)) {
		return;
	}
	guard = tevent_add_timer(ev, hidden, in_us("60000000"), on_guard, req);
	guard_fired = known = false;
	pin(req);
	loops++;
	note->loops++;
	if (strcmp(argv[3], "unix") == 0) {
		int err = 0;
		result = tevent_req_poll_unix(req, ev, &err);
		error = err;
	} else if (strcmp(argv[3], "nt") == 0) {
		NTSTATUS status = NT_STATUS(0);
		result = tevent_req_poll_ntstatus(req, ev, &status);
		error = NT_STATUS_V(status);
	} else if (strcmp(argv[3], "werror") == 0) {
		WERROR werror = W_ERROR(0);
		result = tevent_req_poll_werror(req, ev, &werror);
		error = W_ERROR_V(werror);
	} else {
		result = tevent_req_poll(req, ev);
	}
	note->loops--;
	loops--;
	unpin();
	if (!guard_fired) {
		talloc_free(guard);
	}
	known = outer;
	guard_fired = outer_guard;
	saw("poll -> %d %lld at %lld", result, error, (long long)clock_us);
}

/* look R: all that can be asked of a request */
static void op_look(int argc, char **argv)
{
	struct tevent_req *req = req_get(argv[1]);
	enum tevent_req_state state = TEVENT_REQ_INIT;
	uint64_t error = 0;
	bool failed, unix_failed, is_werror;
	WERROR werror = W_ERROR(0);
	int err = 0;

	if (req == NULL) {
		return;
	}
	failed = tevent_req_is_error(req, &state, &error);
	unix_failed = tevent_req_is_unix_error(req, &err);
	is_werror = tevent_req_is_werror(req, &werror);
	saw("look %s: %d %d %llu, in progress %d, unix %d %d, werror %d %u, wakeup %d, profile %d", argv[1], failed, state,
	    (unsigned long long)error, tevent_req_is_in_progress(req), unix_failed, unix_failed ? err : 0,
	    is_werror, is_werror ? W_ERROR_V(werror) : 0, tevent_wakeup_recv(req),
	    tevent_req_get_profile(req) != NULL);
}

/* nt R [blind]: tevent_req_is_nterror() */
static void op_nt(int argc, char **argv)
{
	struct tevent_req *req = req_get(argv[1]);

	if (req != NULL && (!is_no_status(req) || is_blind(argv[2]))) {
		NTSTATUS status = NT_STATUS(0);
		bool failed = tevent_req_is_nterror(req, &status);
		saw("nt %s: %d %u", argv[1], failed, failed ? NT_STATUS_V(status) : 0);
	}
}

/* errno NUMBER: what it is elsewhere; EPROTONOSUPPORT became something after this version */
static void op_errno(int argc, char **argv)
{
	int number = atoi(argv[1]);

	if (number != EPROTONOSUPPORT) {
		saw("errno %d: %u %u", number, NT_STATUS_V(map_nt_error_from_unix_common(number)),
		    W_ERROR_V(unix_to_werror(number)));
	}
}

/* data R foo|bar; callback_data R req|script */
static void op_data(int argc, char **argv)
{
	struct tevent_req *req = req_get(argv[1]);
	void *state;

	if (req == NULL) {
		return;
	}
	if (strcmp(argv[2], "foo") == 0) {
		state = tevent_req_data(req, struct foo_state);
	} else {
		state = tevent_req_data(req, struct bar_state);
	}
	saw("data %s is %s", argv[1], object_name(state));
}

static void op_callback_data(int argc, char **argv)
{
	struct tevent_req *req = req_get(argv[1]);
	struct note *note;

	if (req == NULL) {
		return;
	}
	note = note_of(req);
	/* The other request may be dead. */
	if (note->pvt != NULL && note->pvt->ptr == NULL) {
		return;
	}
	if (strcmp(argv[2], "req") == 0) {
		saw("callback_data %s", object_name(tevent_req_callback_data(req, struct tevent_req)));
	} else {
		struct script *script = tevent_req_callback_data(req, struct script);
		saw("callback_data %s", script->name);
	}
}

/* What was printed, with the names of objects in the place of their addresses; "error[...]" has none. */
static void saw_printed(const char *what, const char *text)
{
	char plain[4096];
	size_t at = 0;
	bool in_error = false;

	if (text == NULL) {
		saw("%s nothing", what);
		return;
	}
	while (*text != '\0' && at < sizeof(plain) - NAME_MAX_BYTES - 3) {
		if (*text == '[') {
			in_error = at >= 5 && memcmp(plain + at - 5, "error", 5) == 0;
		}
		if (!in_error && strncmp(text, "0x", 2) == 0) {
			char *end;
			const void *ptr = (const void *)strtoull(text, &end, 16);
			at += sprintf(plain + at, "<%s>", object_name(ptr));
			text = end;
		} else {
			plain[at++] = *text++;
		}
	}
	plain[at] = '\0';
	saw("%s %s", what, plain);
}

/* print R: "-" prints NULL; default R */
static void op_print(int argc, char **argv)
{
	struct tevent_req *req = req_get(argv[1]);
	char *text;

	if (req == NULL && strcmp(argv[1], "-") != 0) {
		return;
	}
	text = tevent_req_print(hidden, req);
	saw_printed("print", text);
	talloc_free(text);
}

static void op_default(int argc, char **argv)
{
	struct tevent_req *req = req_get(argv[1]);

	if (req != NULL) {
		char *text = tevent_req_default_print(req, hidden);
		saw_printed("default", text);
		talloc_free(text);
	}
}

/* --- the tree --------------------------------------------------------------------------------------------------- */

/* Below this depth is the inside of an event context, which is nobody's business. */
static int hidden_below;

static void on_report(const void *ptr, int depth, int max_depth, int is_ref, void *private_data)
{
	if (depth > hidden_below) {
		return;
	}
	hidden_below = strcmp(talloc_get_name(ptr), "struct tevent_context") == 0 ? depth : 1 << 30;
	saw("%*s%s", depth, "", talloc_get_name(ptr));
}

static void show_tree(const void *ptr)
{
	hidden_below = 1 << 30;
	talloc_report_depth_cb(ptr, 0, 100, on_report, NULL);
}

/* tree X: owners and names; blocks X: how many. Not while a trigger may run: see known.py */
static void op_tree(int argc, char **argv)
{
	void *ptr;

	if (strcmp(argv[1], "-") != 0 && owner_get(argv[1], &ptr) && in_trigger == 0) {
		saw("tree %s", argv[1]);
		show_tree(ptr);
	}
}

static void op_blocks(int argc, char **argv)
{
	struct object *object = object_find(argv[1]);

	if (object != NULL && in_trigger == 0 &&
	    (strcmp(object->kind, "req") == 0 || strcmp(object->kind, "queue") == 0)) {
		saw("blocks %s: %zu", argv[1], talloc_total_blocks(object->ptr));
	}
}

/* parent X */
static void op_parent(int argc, char **argv)
{
	struct object *object = object_find(argv[1]);

	if (object != NULL) {
		void *parent = talloc_parent(object->ptr);
		saw("parent of %s: %s", argv[1], parent == root ? "root" : object_name(parent));
	}
}

/* --- the program ------------------------------------------------------------------------------------------------ */

#define OPERATION(name) { #name, op_##name }

static const struct operation operations[] = {
	OPERATION(ev), OPERATION(wrapper), OPERATION(chunk), OPERATION(destructor), OPERATION(imm), OPERATION(schedule), OPERATION(timer),
	OPERATION(free), OPERATION(steal), OPERATION(reference), OPERATION(unlink), OPERATION(loop), OPERATION(advance),
	OPERATION(req), OPERATION(wakeup), OPERATION(wait), OPERATION(callback), OPERATION(cleanup), OPERATION(cancelfn),
	OPERATION(printfn), OPERATION(done), OPERATION(oom), OPERATION(nomem), OPERATION(notify), OPERATION(error),
	OPERATION(nterror), OPERATION(werror), OPERATION(post), OPERATION(defer), OPERATION(endtime), OPERATION(reset),
	OPERATION(cancel), OPERATION(received), OPERATION(recv), OPERATION(finish), OPERATION(poll), OPERATION(look),
	OPERATION(nt), OPERATION(errno), OPERATION(data), OPERATION(callback_data), OPERATION(print), OPERATION(default), OPERATION(tree),
	OPERATION(blocks), OPERATION(parent),
	OPERATION(queue), OPERATION(add), OPERATION(entry), OPERATION(optimize), OPERATION(untrigger), OPERATION(start),
	OPERATION(stop), OPERATION(length), OPERATION(tag), OPERATION(watch), OPERATION(watch_queue),
	OPERATION(set_profile), OPERATION(move_profile), OPERATION(profile), OPERATION(pname), OPERATION(pstart),
	OPERATION(pstop), OPERATION(pstatus), OPERATION(pappend), OPERATION(pshow), OPERATION(pstring), OPERATION(pack),
	OPERATION(repack), OPERATION(unpack),
	{ NULL, NULL },
};

static void area_begin(void)
{
	tevent_set_abort_fn(on_abort);
	hidden = talloc_named_const(NULL, 0, "hidden");
	root = talloc_named_const(NULL, 0, "root");
	add("e0", "ev", tevent_context_init_byname(root, "epoll"));
}

/* Frees what is left, kind after kind, with scripts that do nothing; the kinds that others use come last. */
static void area_end(void)
{
	/* Requests twice: references that some of them had are gone by then. */
	static const char *const kinds[] = { "req", "entry", "queue", "imm", "timer", "profile", "chunk", "req", "state", "ev" };
	size_t kind;
	int i, count = objects_count;

	script_budget = 0;
	saw("tree root");
	show_tree(root);
	for (kind = 0; kind < sizeof(kinds) / sizeof(kinds[0]); kind++) {
		for (i = 0; i < count; i++) {
			if (objects[i].ptr == NULL || strcmp(objects[i].kind, kinds[kind]) != 0) {
				continue;
			}
			if (strcmp(kinds[kind], "state") != 0 || object_of_state(objects[i].name) == NULL) {
				saw("free %s -> %d", objects[i].name, talloc_free(objects[i].ptr));
				objects_scan();
			}
		}
	}
	show_tree(root);
	saw("free root -> %d", talloc_free(root));
}

int main(void)
{
	return driver_main();
}
