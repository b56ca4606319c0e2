/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Handlers, and the system as the library sees it: its functions of libc are defined here. */
/* --- handlers --------------------------------------------------------------------------------------------------- */

static void quench(struct thing *ev)
{
	int i;

	for (i = 0; i < things_count; i++) {
		struct thing *t = &things[i];
		if (!attached(t) || t->ev != ev || is(t, "tctx") || is(t, "wrap")) {
			continue;
		}
		if (is(t, "imm")) {
			if (t->queued && !t->threaded && !t->taken) {
				t->queued = false;
				tevent_schedule_immediate(t->ptr, ev->ptr, NULL, NULL);
			}
		} else if (is(t, "timer") && t->running > 0) {
			continue;
		} else if (may_be_freed(t)) {
			thing_free(t);
		} else if (is(t, "fd")) {
			t->flags = 0;
			tevent_fd_set_flags(t->ptr, 0);
		}
	}
}

static bool tired(void)
{
	struct waiting *w;

	for (w = waitings; w != NULL; w = w->outer) {
		if (w->quenched) {
			return true;
		}
	}
	return line_handlers > LINE_HANDLERS_MAX;
}

static struct thing *next_of_signal(const struct thing *se)
{
	int i;

	for (i = se - things - 1; i >= 0; i--) {
		struct thing *t = &things[i];
		if (is(t, "signal") && t->signum == se->signum && attached(t)) {
			return t;
		}
	}
	return NULL;
}

/* Runs the script of a handler. */
static void handle(struct thing *t, const char *script, bool is_signal)
{
	struct waiting *w = waitings;

	line_handlers++;
	handler_stack[handlers_active] = t;
	handler_next[handlers_active] = is_signal ? next_of_signal(t) : NULL;
	handlers_active++;
	signal_handlers_active += is_signal;
	if (++t->running > 1) {
		t->recursed = true;
	}
	if (w != NULL && ++w->handlers > WAIT_HANDLERS_MAX && !w->quenched) {
		w->quenched = true;
		saw("quench %s", w->ev->name);
		quench(w->ev);
	}
	if (w != NULL && w->handlers > 10 * WAIT_HANDLERS_MAX) {
		program_aborts("runs without end");
	}
	if (!tired()) {
		run_script(script);
	}
	if (--t->running == 0) {
		t->recursed = false;
	}
	signal_handlers_active -= is_signal;
	handlers_active--;
}

static void fd_handler(struct tevent_context *ev, struct tevent_fd *fde, uint16_t flags, void *private_data)
{
	struct thing *t = private_data;
	struct pollfd pfd = { .fd = t->fd, .events = POLLIN | POLLOUT };

	syscall(SYS_poll, &pfd, 1, 0);
	if (pfd.revents & (POLLHUP | POLLERR)) {
		t->latched = true;
	}
	saw("run fd %s ev=%s flags=%d%s", t->name, name_of(ev), flags, t->ptr == fde ? "" : " ?");
	handle(t, t->script, false);
}

static void timer_handler(struct tevent_context *ev, struct tevent_timer *te, struct timeval now, void *private_data)
{
	struct thing *t = private_data;

	saw("run timer %s ev=%s now=%lld.%06lld%s", t->name, name_of(ev), (long long)now.tv_sec, (long long)now.tv_usec,
	    t->ptr == te ? "" : " ?");
	handle(t, t->script, false);
}

static void imm_handler(struct tevent_context *ev, struct tevent_immediate *im, void *private_data)
{
	struct thing *t = private_data;
	char script[NAME_MAX_BYTES];

	t->queued = t->threaded = false;
	t->was_of = t->ev;
	memcpy(script, t->script, sizeof(script));
	saw("run imm %s ev=%s%s", t->name, name_of(ev), t->ptr == im ? "" : " ?");
	handle(t, script, false);
}

/* What a proxy runs. */
static void proxy_handler(struct tevent_context *ev, struct tevent_immediate *im, void *private_data)
{
	struct thing *t = *(struct thing **)private_data;
	char script[NAME_MAX_BYTES];
	struct thing *proxy = t->via;

	memcpy(script, t->script, sizeof(script));
	t->was_of = t->ev;
	saw("run proxy %s ev=%s%s", t->name, name_of(ev), t->ptr == im ? "" : " ?");
	proxy->running++;
	handle(t, script, false);
	proxy->running--;
}

static void signal_handler(struct tevent_context *ev, struct tevent_signal *se, int signum, int count, void *siginfo,
			   void *private_data)
{
	struct thing *t = private_data;

	saw("run signal %s ev=%s signum=%d count=%d siginfo=%s%s", t->name, name_of(ev), signum, count,
	    siginfo != NULL ? "yes" : "no", t->ptr == se ? "" : " ?");
	handle(t, t->script, true);
}

static void close_fn(struct tevent_context *ev, struct tevent_fd *fde, int fd, void *private_data)
{
	struct thing *t = private_data;

	saw("close %s ev=%s fd=%s%s", t->name, name_of(ev), fd_name_of(fd), t->ptr == fde ? "" : " ?");
	if (t->close_mode == 'c') {
		close(fd);
	}
}

/* --- the system ------------------------------------------------------------------------------------------------- */

static int wakeup_fds[256];
static int wakeup_fds_count;

int eventfd(unsigned int count, int flags)
{
	int fd = syscall(SYS_eventfd2, count, flags);

	if (fd != -1 && wakeup_fds_count < 256) {
		wakeup_fds[wakeup_fds_count++] = fd;
	}
	return fd;
}

int close(int fd)
{
	int i;

	for (i = 0; i < wakeup_fds_count; i++) {
		if (wakeup_fds[i] == fd) {
			wakeup_fds[i--] = wakeup_fds[--wakeup_fds_count];
		}
	}
	return syscall(SYS_close, fd);
}

/*
 * The library wakes itself more often than it has to; how often nobody can rely on. So what it has written to its
 * wakeup descriptors is gone before it waits.
 */
static void drain_wakeups(void)
{
	uint64_t value;
	int i, kept = errno;

	for (i = 0; i < wakeup_fds_count; i++) {
		while (read(wakeup_fds[i], &value, sizeof(value)) == sizeof(value)) {
			continue;
		}
	}
	errno = kept;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
	tv->tv_sec = clock_us / 1000000;
	tv->tv_usec = clock_us % 1000000;
	return 0;
}

static void foreign_handler(int signum)
{
	foreign[signum]++;
}

static const char *disposition(int signum)
{
	struct sigaction action;

	sigaction(signum, NULL, &action);
	if (action.sa_handler == SIG_DFL) {
		return "default";
	}
	return action.sa_handler == foreign_handler ? "foreign" : "tevent";
}

static bool watches_signals(const struct thing *ev)
{
	int i;

	for (i = 0; i < things_count; i++) {
		if (is(&things[i], "signal") && attached(&things[i]) && things[i].ev == ev) {
			return true;
		}
	}
	return false;
}

static bool do_raise(int signum)
{
	if (raises[signum] >= RAISES_MAX || strcmp(disposition(signum), "default") == 0) {
		return false;
	}
	raises[signum]++;
	raise(signum);
	return true;
}

/* What happens while the library waits and nothing is ready: the result of the wait. */
static int nothing_ready(int timeout)
{
	struct waiting *w = waitings;
	int signum = raise_in_wait;

	if (signum != 0 && watches_signals(loop_stack[loops_active - 1]) && strcmp(disposition(signum), "tevent") == 0
	    && do_raise(signum)) {
		raise_in_wait = 0;
		saw("raised in wait %d", signum);
		errno = EINTR;
		return -1;
	}
	if (timeout < 0) {
		program_aborts("waits for ever");
	}
	clock_us += timeout * 1000LL;
	if (w != NULL && w->waits > 10 * WAIT_WAITS_MAX) {
		program_aborts("waits without end");
	}
	if (w != NULL && ++w->waits > WAIT_WAITS_MAX) {
		w->quenched = true;
		saw("quench %s", w->ev->name);
		quench(w->ev);
	}
	return 0;
}

int epoll_wait(int fd, struct epoll_event *events, int maxevents, int timeout)
{
	int n;

	saw("wait %d", timeout);
	drain_wakeups();
	n = syscall(SYS_epoll_wait, fd, events, maxevents, 0);
	return n == 0 ? nothing_ready(timeout) : n;
}

int poll(struct pollfd *pfds, nfds_t count, int timeout)
{
	int n;

	saw("wait %d", timeout);
	drain_wakeups();
	n = syscall(SYS_poll, pfds, count, 0);
	return n == 0 ? nothing_ready(timeout) : n;
}

/*
 * Newer libraries do not wait for fd events with flags 0, this one does: where there are such, what is known of the
 * other events decides.
 */
bool tevent_common_have_events(struct tevent_context *ev)
{
	static bool (*library)(struct tevent_context *ev);
	bool silent = false, other = false;
	int i;

	if (library == NULL) {
		library = (bool (*)(struct tevent_context *))dlsym(RTLD_NEXT, "tevent_common_have_events");
	}
	for (i = 0; i < things_count; i++) {
		const struct thing *t = &things[i];
		if (!attached(t) || t->ev->ptr != ev) {
			continue;
		}
		if (is(t, "fd")) {
			if (flags_of(t) != 0) {
				other = true;
			} else {
				silent = true;
			}
		} else if (is(t, "timer")) {
			other = other || t->running == 0;
		} else if (is(t, "imm")) {
			other = other || (t->queued && !t->threaded);
		} else if (is(t, "signal") || is(t, "proxy")) {
			other = true;
		}
	}
	for (i = 0; i < STORM_MAX && storm_ev == ev; i++) {
		other = other || storm_timers[i] != NULL;
	}
	return silent && !other ? false : library(ev);
}

void tevent_common_threaded_activate_immediate(struct tevent_context *ev)
{
	static void (*library)(struct tevent_context *ev);
	int i;

	if (library == NULL) {
		library = (void (*)(struct tevent_context *))dlsym(RTLD_NEXT, "tevent_common_threaded_activate_immediate");
	}
	for (i = 0; i < things_count; i++) {
		if (things[i].threaded && attached(&things[i]) && things[i].ev->ptr == ev) {
			things[i].threaded = false;
			things[i].queued = true;
		}
	}
	library(ev);
}

static bool loop_begins(struct thing *ev);
static void loop_ends(struct thing *ev);
