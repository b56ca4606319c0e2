/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Operations that make contexts and events. */
/* --- operations: making things ---------------------------------------------------------------------------------- */

static void op_ctx(int argc, char **argv)
{
	void *owner;
	struct thing *t;

	if (owner_get(argv[2], "ctx", &owner) && (t = thing_new(argv[1], "ctx")) != NULL) {
		thing_made(t, talloc_named_const(owner, 0, "ctx"));
	}
}

/* Backends whose operations say that they are called. */
#define WATCHED(backend) \
static const struct tevent_ops *backend##_ops; \
static int backend##_context_init(struct tevent_context *ev) \
{ \
	saw("op context_init"); \
	return backend##_ops->context_init(ev); \
} \
static struct tevent_fd *backend##_add_fd(struct tevent_context *ev, TALLOC_CTX *mem_ctx, int fd, uint16_t flags, \
					  tevent_fd_handler_t handler, void *private_data, const char *handler_name, \
					  const char *location) \
{ \
	if (handler == fd_handler) { \
		saw("op add_fd %s %d %s", fd_name_of(fd), flags, handler_name); \
	} \
	return backend##_ops->add_fd(ev, mem_ctx, fd, flags, handler, private_data, handler_name, location); \
} \
static void backend##_set_fd_close_fn(struct tevent_fd *fde, tevent_fd_close_fn_t fn) \
{ \
	saw("op set_fd_close_fn %s %d", name_of(fde), fn != NULL); \
	backend##_ops->set_fd_close_fn(fde, fn); \
} \
static uint16_t backend##_get_fd_flags(struct tevent_fd *fde) \
{ \
	if (quiet == 0) { \
		saw("op get_fd_flags %s", name_of(fde)); \
	} \
	return backend##_ops->get_fd_flags(fde); \
} \
static void backend##_set_fd_flags(struct tevent_fd *fde, uint16_t flags) \
{ \
	saw("op set_fd_flags %s %d", name_of(fde), flags); \
	backend##_ops->set_fd_flags(fde, flags); \
} \
static struct tevent_timer *backend##_add_timer(struct tevent_context *ev, TALLOC_CTX *mem_ctx, struct timeval tv, \
						tevent_timer_handler_t handler, void *private_data, \
						const char *handler_name, const char *location) \
{ \
	saw("op add_timer %lld.%06lld %s", (long long)tv.tv_sec, (long long)tv.tv_usec, handler_name); \
	return backend##_ops->add_timer(ev, mem_ctx, tv, handler, private_data, handler_name, location); \
} \
static void backend##_schedule_immediate(struct tevent_immediate *im, struct tevent_context *ev, \
					 tevent_immediate_handler_t handler, void *private_data, \
					 const char *handler_name, const char *location) \
{ \
	if (thing_of(im) != NULL) { \
		saw("op schedule_immediate %s %d", name_of(im), handler != NULL); \
	} \
	backend##_ops->schedule_immediate(im, ev, handler, private_data, handler_name, location); \
} \
static struct tevent_signal *backend##_add_signal(struct tevent_context *ev, TALLOC_CTX *mem_ctx, int signum, \
						  int flags, tevent_signal_handler_t handler, void *private_data, \
						  const char *handler_name, const char *location) \
{ \
	saw("op add_signal %d %s", signum, handler_name); \
	return backend##_ops->add_signal(ev, mem_ctx, signum, flags, handler, private_data, handler_name, location); \
} \
static int backend##_loop_once(struct tevent_context *ev, const char *location) \
{ \
	saw("op loop_once"); \
	return backend##_ops->loop_once(ev, location); \
} \
static int backend##_loop_wait(struct tevent_context *ev, const char *location) \
{ \
	saw("op loop_wait"); \
	return backend##_ops->loop_wait(ev, location); \
} \
static const struct tevent_ops watched_##backend = { \
	.context_init = backend##_context_init, \
	.add_fd = backend##_add_fd, \
	.set_fd_close_fn = backend##_set_fd_close_fn, \
	.get_fd_flags = backend##_get_fd_flags, \
	.set_fd_flags = backend##_set_fd_flags, \
	.add_timer = backend##_add_timer, \
	.schedule_immediate = backend##_schedule_immediate, \
	.add_signal = backend##_add_signal, \
	.loop_once = backend##_loop_once, \
	.loop_wait = backend##_loop_wait, \
};
WATCHED(epoll)
WATCHED(poll)

static struct tevent_context *context_init(void *owner, const char *backend)
{
	epoll_ops = tevent_find_ops_byname("epoll");
	poll_ops = tevent_find_ops_byname("poll");
	if (strcmp(backend, "+epoll") == 0) {
		return tevent_context_init_ops(owner, &watched_epoll, NULL);
	}
	if (strcmp(backend, "+poll") == 0) {
		return tevent_context_init_ops(owner, &watched_poll, NULL);
	}
	return tevent_context_init_byname(owner, strcmp(backend, "-") == 0 ? NULL : backend);
}

static void op_ev(int argc, char **argv)
{
	void *owner;
	struct thing *t;

	if (owner_get(argv[2], "ev", &owner) && (t = thing_new(argv[1], "ev")) != NULL) {
		t->backend_is_epoll = strstr(argv[3], "poll") != argv[3] && strcmp(argv[3], "+poll") != 0;
		if (thing_made(t, context_init(owner, argv[3]))) {
			t->via = t->ev = t;
		}
	}
}

static struct thing *wrapper_thing(struct tevent_context *wrap_ev)
{
	return thing_of(wrap_ev);
}

#define SAW_WRAP(what, format, ...) do { \
	struct thing *w = wrapper_thing(wrap_ev); \
	saw(what " %s main=%s state=%s" format, w->name, name_of(main_ev), w->state == private_state ? "ok" : "?", \
	    ##__VA_ARGS__); \
} while (0)

static bool before_use(struct tevent_context *wrap_ev, void *private_state, struct tevent_context *main_ev,
		       const char *location)
{
	SAW_WRAP("before use", "");
	return wrapper_thing(wrap_ev)->agrees;
}

static void after_use(struct tevent_context *wrap_ev, void *private_state, struct tevent_context *main_ev,
		      const char *location)
{
	SAW_WRAP("after use", "");
}

#define WRAP_FD(when) \
static void when##_fd(struct tevent_context *wrap_ev, void *private_state, struct tevent_context *main_ev, \
		      struct tevent_fd *fde, uint16_t flags, const char *handler_name, const char *location) \
{ \
	SAW_WRAP(#when " fd", " %s flags=%d %s", name_of(fde), flags, handler_name); \
}
#define WRAP_TIMER(when) \
static void when##_timer(struct tevent_context *wrap_ev, void *private_state, struct tevent_context *main_ev, \
			 struct tevent_timer *te, struct timeval requested, struct timeval trigger, \
			 const char *handler_name, const char *location) \
{ \
	SAW_WRAP(#when " timer", " %s %lld.%06lld %lld.%06lld %s", name_of(te), (long long)requested.tv_sec, \
		 (long long)requested.tv_usec, (long long)trigger.tv_sec, (long long)trigger.tv_usec, handler_name); \
}
#define WRAP_IMM(when) \
static void when##_imm(struct tevent_context *wrap_ev, void *private_state, struct tevent_context *main_ev, \
		       struct tevent_immediate *im, const char *handler_name, const char *location) \
{ \
	SAW_WRAP(#when " imm", " %s %s", name_of(im), handler_name); \
}
#define WRAP_SIGNAL(when) \
static void when##_signal(struct tevent_context *wrap_ev, void *private_state, struct tevent_context *main_ev, \
			  struct tevent_signal *se, int signum, int count, void *siginfo, const char *handler_name, \
			  const char *location) \
{ \
	SAW_WRAP(#when " signal", " %s %d %d %s %s", name_of(se), signum, count, siginfo != NULL ? "yes" : "no", \
		 handler_name); \
}
WRAP_FD(before)
WRAP_FD(after)
WRAP_TIMER(before)
WRAP_TIMER(after)
WRAP_IMM(before)
WRAP_IMM(after)
WRAP_SIGNAL(before)
WRAP_SIGNAL(after)

static const struct tevent_wrapper_ops wrapper_ops = {
	.name = "wrapper",
	.before_use = before_use,
	.after_use = after_use,
	.before_fd_handler = before_fd,
	.after_fd_handler = after_fd,
	.before_timer_handler = before_timer,
	.after_timer_handler = after_timer,
	.before_immediate_handler = before_imm,
	.after_immediate_handler = after_imm,
	.before_signal_handler = before_signal,
	.after_signal_handler = after_signal,
};

struct wrap_state {
	int unused;
};

static void op_wrap(int argc, char **argv)
{
	struct thing *ev = context_get(argv[3], false), *t;
	struct wrap_state *state = NULL;
	void *owner;

	if (ev == NULL || (main_of(ev) == NULL) || !owner_get(argv[2], "wrap", &owner) || (t = thing_new(argv[1], "wrap")) == NULL) {
		return;
	}
	t->agrees = strcmp(argv[4], "no") != 0;
	if (thing_made(t, tevent_context_wrapper_create(ev->ptr, owner, &wrapper_ops, &state, struct wrap_state))) {
		t->ev = main_of(ev);
		t->via = t;
		t->state = state;
	}
}

/* C's poll waits for errors of an event that wants nothing but bits it does not know. */
static bool flags_are_fine(int flags)
{
	return (flags & ~3) == 0 || (flags & TEVENT_FD_READ) != 0;
}

/* Whether another event of epoll wants something on that descriptor: this library gives only one of them its turn. */
static bool has_rival(const struct thing *ev, int fd, const struct thing *own)
{
	int i;

	for (i = 0; i < things_count; i++) {
		const struct thing *t = &things[i];
		if (ev->backend_is_epoll && is(t, "fd") && t != own && t->fd == fd && t->ev == ev && attached(t)
		    && flags_of(t) != 0) {
			return true;
		}
	}
	return false;
}

static void op_fd(int argc, char **argv)
{
	struct thing *ev = context_get(argv[3], true), *t, *main_ev;
	int fd = fd_get(argv[4]), flags = atoi(argv[5]);
	void *owner;

	if (ev == NULL || !owner_get(argv[2], "fd", &owner) || (fd == -1 && strcmp(argv[4], "-") != 0)) {
		return;
	}
	main_ev = main_of(ev);
	if (!flags_are_fine(flags) || (flags != 0 && main_ev != NULL && has_rival(main_ev, fd, NULL))) {
		return;
	}
	t = thing_new(argv[1], "fd");
	if (t == NULL) {
		return;
	}
	snprintf(t->script, sizeof(t->script), "%s", argv[6]);
	t->fd = fd;
	t->ev = main_ev;
	t->via = ev;
	t->flags = flags;
	thing_made(t, tevent_add_fd(ev->ptr, owner, fd, flags, fd_handler, t));
}

static void op_timer(int argc, char **argv)
{
	struct thing *ev = context_get(argv[3], true), *t;
	void *owner;

	if (ev == NULL || !owner_get(argv[2], "timer", &owner) || (t = thing_new(argv[1], "timer")) == NULL) {
		return;
	}
	snprintf(t->script, sizeof(t->script), "%s", argv[6]);
	t->ev = main_of(ev);
	t->via = ev;
	thing_made(t, tevent_add_timer(ev->ptr, owner, tv_of(argv[4], argv[5]), timer_handler, t));
}

static void op_imm(int argc, char **argv)
{
	struct thing *t;
	void *owner;

	if (owner_get(argv[2], "imm", &owner) && (t = thing_new(argv[1], "imm")) != NULL) {
		thing_made(t, tevent_create_immediate(owner));
	}
}

static void op_signal(int argc, char **argv)
{
	struct thing *ev = context_get(argv[3], true), *t;
	int signum = atoi(argv[4]), flags = 0, i;
	void *owner;

	if (ev == NULL || !owner_get(argv[2], "signal", &owner)) {
		return;
	}
	flags |= strchr(argv[5], 'i') != NULL ? SA_SIGINFO : 0;
	flags |= strchr(argv[5], 'r') != NULL ? SA_RESTART : 0;
	flags |= strchr(argv[5], 'h') != NULL ? SA_RESETHAND : 0;
	for (i = 0; i < things_count; i++) {
		t = &things[i];
		/* The siginfo of a number whose first event did not ask for it is invalid. */
		if (is(t, "signal") && t->signum == signum && attached(t) && (t->flags & SA_SIGINFO) == 0) {
			flags &= ~SA_SIGINFO;
		}
	}
	t = thing_new(argv[1], "signal");
	if (t == NULL) {
		return;
	}
	snprintf(t->script, sizeof(t->script), "%s", argv[6]);
	t->ev = main_of(ev);
	t->via = ev;
	t->signum = signum;
	t->flags = flags;
	thing_made(t, tevent_add_signal(ev->ptr, owner, signum, flags, signal_handler, t));
}

static void op_tctx(int argc, char **argv)
{
	struct thing *ev = context_get(argv[3], false), *t;
	void *owner;

	if (ev == NULL || main_of(ev) == NULL || ev->freed || !owner_get(argv[2], "tctx", &owner)
	    || (t = thing_new(argv[1], "tctx")) == NULL) {
		return;
	}
	t->ev = main_of(ev);
	t->via = ev;
	thing_made(t, tevent_threaded_context_create(owner, ev->ptr));
}

static void op_proxy(int argc, char **argv)
{
	struct thing *ev = context_get(argv[2], false), *t;

	if (ev != NULL && main_of(ev) != NULL && (t = thing_new(argv[1], "proxy")) != NULL) {
		t->ev = main_of(ev);
		t->via = ev;
		thing_made(t, tevent_thread_proxy_create(ev->ptr));
	}
}

/* --- operations: many timers ------------------------------------------------------------------------------------ */

static uint32_t storm_state;

static uint32_t storm_next(uint32_t below)
{
	storm_state = storm_state * 1664525 + 1013904223;
	return (storm_state >> 8) % below;
}

static struct timeval storm_time(void)
{
	struct timeval tv = { 0, 0 };
	uint32_t what = storm_next(10);

	if (what >= 3) {
		tv.tv_sec = clock_us / 1000000 - 1 + storm_next(4);
		tv.tv_usec = storm_next(5) * (what == 9 ? 700000 : 250000);
	}
	return tv;
}

static void storm_handler(struct tevent_context *ev, struct tevent_timer *te, struct timeval now, void *private_data)
{
	struct tevent_timer **place = private_data;

	saw("fires %llu at %lld.%06lld", (unsigned long long)tevent_timer_get_tag(te), (long long)now.tv_sec,
	    (long long)now.tv_usec);
	*place = NULL;
}

/* Many timers, added, moved and cancelled at random, and then all of them fire. */
static void op_storm(int argc, char **argv)
{
	struct tevent_timer **timers = storm_timers;
	struct thing *ev = thing_get(argv[1], "ev");
	uint32_t count = atoi(argv[2]), i, steps;

	if (ev == NULL || count > STORM_MAX || ev->looping > 0) {
		return;
	}
	storm_state = atoi(argv[3]);
	memset(storm_timers, 0, sizeof(storm_timers));
	storm_ev = ev->ptr;
	for (steps = 0; steps < 3 * count; steps++) {
		i = storm_next(count);
		if (timers[i] == NULL) {
			timers[i] = tevent_add_timer(ev->ptr, ev->ptr, storm_time(), storm_handler, &timers[i]);
			tevent_timer_set_tag(timers[i], steps);
		} else if (storm_next(3) == 0) {
			TALLOC_FREE(timers[i]);
		} else {
			tevent_update_timer(timers[i], storm_time());
		}
	}
	saw("storm %s", argv[1]);
	if (!loop_begins(ev)) {
		return;
	}
	for (i = 0; i < count; i++) {
		tevent_loop_once(ev->ptr);
	}
	loop_ends(ev);
	for (i = 0; i < count; i++) {
		TALLOC_FREE(timers[i]);
	}
}
