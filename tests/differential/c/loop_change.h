/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Operations on descriptors and on events. */
/* --- operations: descriptors ------------------------------------------------------------------------------------ */

static void fd_add(const char *name, int fd)
{
	int own = FDS_BASE + fds_count;

	if (fds_count == FDS_MAX) {
		program_aborts("too many descriptors");
	}
	/* No number comes twice. */
	dup3(fd, own, O_CLOEXEC);
	close(fd);
	fcntl(own, F_SETFL, O_NONBLOCK);
	snprintf(fds[fds_count].name, NAME_MAX_BYTES, "%s", name);
	fds[fds_count++].fd = own;
}

static void op_pipe(int argc, char **argv)
{
	int pair[2];

	if (fd_get(argv[1]) == -1 && fd_get(argv[2]) == -1 && strcmp(argv[1], argv[2]) != 0 && pipe(pair) == 0) {
		fd_add(argv[1], pair[0]);
		fd_add(argv[2], pair[1]);
	}
}

static void op_pair(int argc, char **argv)
{
	int pair[2];

	if (fd_get(argv[1]) == -1 && fd_get(argv[2]) == -1 && strcmp(argv[1], argv[2]) != 0
	    && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0) {
		fd_add(argv[1], pair[0]);
		fd_add(argv[2], pair[1]);
	}
}

static void op_file(int argc, char **argv)
{
	if (fd_get(argv[1]) == -1) {
		fd_add(argv[1], memfd_create("file", 0));
	}
}

static char bytes[1 << 16];

static void op_write(int argc, char **argv)
{
	int fd = fd_get(argv[1]), count = atoi(argv[2]);
	ssize_t n;

	if (fd != -1 && count >= 0 && count <= (int)sizeof(bytes)) {
		n = write(fd, bytes, count);
		saw("write %s %zd %d", argv[1], n, n == -1 ? errno : 0);
	}
}

static void op_fill(int argc, char **argv)
{
	int fd = fd_get(argv[1]);
	long total = 0;
	ssize_t n = 0;

	if (fd == -1) {
		return;
	}
	/* A file takes more and more. */
	while (total < FILL_MAX && (n = write(fd, bytes, sizeof(bytes))) > 0) {
		total += n;
	}
	saw("fill %s %ld %d", argv[1], total, n == -1 ? errno : 0);
}

static void op_read(int argc, char **argv)
{
	int fd = fd_get(argv[1]), count = atoi(argv[2]);
	ssize_t n;

	if (fd != -1 && count >= 0 && count <= (int)sizeof(bytes)) {
		n = read(fd, bytes, count);
		saw("read %s %zd %d", argv[1], n, n == -1 ? errno : 0);
	}
}

static void op_drain(int argc, char **argv)
{
	int fd = fd_get(argv[1]);
	long total = 0;
	ssize_t n;

	if (fd == -1) {
		return;
	}
	while ((n = read(fd, bytes, sizeof(bytes))) > 0) {
		total += n;
	}
	saw("drain %s %ld %d", argv[1], total, n == -1 ? errno : 0);
}

static void op_close(int argc, char **argv)
{
	int fd = fd_get(argv[1]);

	if (fd != -1 && !is_wrapped(fd)) {
		saw("close %s %d", argv[1], close(fd));
	}
}

static void op_shut(int argc, char **argv)
{
	int fd = fd_get(argv[1]), ret;

	if (fd != -1) {
		ret = shutdown(fd, atoi(argv[2]) % 3);
		saw("shut %s %d %d", argv[1], ret, ret == -1 ? errno : 0);
	}
}

/* --- operations: changing events -------------------------------------------------------------------------------- */

static void op_free(int argc, char **argv)
{
	struct thing *t = thing_get(argv[1], NULL);

	if (t != NULL && !t->taken && may_be_freed(t)) {
		int ret = thing_free(t);
		saw("free %s %d", argv[1], ret);
	}
}

static void op_steal(int argc, char **argv)
{
	struct thing *t = thing_get(argv[1], NULL), *to = thing_get(argv[2], NULL);
	void *owner;
	int i;

	if (t == NULL || t->taken || is(t, "proxy") || !owner_get(argv[2], t->kind, &owner)
	    || (to != NULL && is_within(to, t))) {
		return;
	}
	for (i = 0; i < things_count; i++) {
		const struct thing *part = &things[i];
		if (alive(part) && is_within(part, t) && (part->threaded || !may_own(to, part->kind))) {
			return;
		}
	}
	talloc_steal(owner, t->ptr);
	saw("steal %s", argv[1]);
}

static void op_parent(int argc, char **argv)
{
	struct thing *t = thing_get(argv[1], NULL);

	if (t != NULL) {
		saw("parent %s %s", argv[1], name_of(talloc_parent(t->ptr)));
	}
}

/* Says whose flags the library has changed by itself. */
static void flags_scan(void)
{
	int i;

	for (i = 0; i < things_count; i++) {
		struct thing *t = &things[i];
		int flags;

		if (is(t, "fd") && attached(t) && (flags = flags_of(t)) != t->flags) {
			saw("silenced %s %d", t->name, flags);
			t->flags = flags;
			t->latched = true;
		}
	}
}

/* Whether both sides do the same when flags are set. */
static bool may_set(const struct thing *t, int flags)
{
	if (!attached(t)) {
		return true;
	}
	if (!flags_are_fine(flags)) {
		return false;
	}
	/* After an error an event that only wants to write is silent in one of two ways. */
	if (t->latched && (flags & 3) == TEVENT_FD_WRITE && t->ev->backend_is_epoll) {
		return false;
	}
	return flags == 0 || !has_rival(t->ev, t->fd, t);
}

static void set_flags(struct thing *t, int flags, const char *how)
{
	struct tevent_fd *fde = t->ptr;

	flags_scan();
	if (!may_set(t, flags)) {
		return;
	}
	if (attached(t)) {
		t->flags = flags;
	}
	if (strcmp(how, "readable") == 0) {
		TEVENT_FD_READABLE(fde);
	} else if (strcmp(how, "writeable") == 0) {
		TEVENT_FD_WRITEABLE(fde);
	} else if (strcmp(how, "not_readable") == 0) {
		TEVENT_FD_NOT_READABLE(fde);
	} else if (strcmp(how, "not_writeable") == 0) {
		TEVENT_FD_NOT_WRITEABLE(fde);
	} else {
		tevent_fd_set_flags(fde, flags);
	}
	saw("flags %s %d", t->name, tevent_fd_get_flags(fde));
	flags_scan();
}

static void op_flags(int argc, char **argv)
{
	struct thing *t = thing_get(argv[1], "fd");

	if (t != NULL) {
		set_flags(t, atoi(argv[2]), "");
	}
}

static void op_flag(int argc, char **argv)
{
	struct thing *t = thing_get(argv[1], "fd");
	int flags;

	if (t != NULL) {
		flags = flags_of(t);
		flags = strcmp(argv[2], "readable") == 0 ? flags | 1 : strcmp(argv[2], "writeable") == 0 ? flags | 2
		      : strcmp(argv[2], "not_readable") == 0 ? flags & ~1 : flags & ~2;
		set_flags(t, flags, argv[2]);
	}
}

static void op_closefn(int argc, char **argv)
{
	struct thing *t = thing_get(argv[1], "fd");

	if (t == NULL) {
		return;
	}
	t->close_mode = argv[2][0];
	if (t->close_mode == 'a') {
		tevent_fd_set_auto_close(t->ptr);
	} else {
		tevent_fd_set_close_fn(t->ptr, t->close_mode == '-' ? NULL : close_fn);
	}
}

static void op_update(int argc, char **argv)
{
	struct thing *t = thing_get(argv[1], "timer");

	if (t != NULL && attached(t) && t->running == 0) {
		tevent_update_timer(t->ptr, tv_of(argv[2], argv[3]));
		saw("update %s", argv[1]);
	}
}

static void op_sched(int argc, char **argv)
{
	struct thing *t = thing_get(argv[1], "imm"), *ev = context_get(argv[2], false), *via;

	if (t == NULL || ev == NULL || main_of(ev) == NULL || t->threaded || t->taken) {
		return;
	}
	/* C lets an immediate that is queued through a wrapper of another context run through that one. */
	if (t->queued && attached(t) && is(t->via, "wrap") && t->ev != main_of(ev)) {
		return;
	}
	via = t->queued && attached(t) && is(t->via, "wrap") ? t->via : ev;
	t->queued = true;
	t->ev = main_of(ev);
	t->via = is(ev, "wrap") ? ev : via;
	snprintf(t->script, sizeof(t->script), "%s", argv[3]);
	tevent_schedule_immediate(t->ptr, ev->ptr, imm_handler, t);
	saw("sched %s", argv[1]);
}

static void op_cancel(int argc, char **argv)
{
	/* C lets an immediate that was cancelled through a wrapper run through it ever after. */
	struct thing *t = thing_get(argv[1], "imm"), *ev = thing_get(argv[2], "ev");

	if (t == NULL || ev == NULL || t->threaded || t->taken) {
		return;
	}
	t->queued = false;
	tevent_schedule_immediate(t->ptr, ev->ptr, NULL, NULL);
	saw("cancel %s", argv[1]);
}

static void op_tsched(int argc, char **argv)
{
	struct thing *tctx = thing_get(argv[1], "tctx"), *t = thing_get(argv[2], "imm");

	if (tctx == NULL || t == NULL || t->threaded || t->taken || t->freed || t->running > 0
	    || (t->queued && attached(t)) || goes_with(t, "timer") || goes_with(t, "signal") || is_taken(t)) {
		return;
	}
	if (attached(tctx)) {
		t->threaded = true;
		t->ev = tctx->ev;
		t->via = tctx->via;
	}
	snprintf(t->script, sizeof(t->script), "%s", argv[3]);
	tevent_threaded_schedule_immediate(tctx->ptr, t->ptr, imm_handler, t);
	saw("tsched %s", argv[2]);
}

static void op_psched(int argc, char **argv)
{
	struct thing *proxy = thing_get(argv[1], "proxy"), *t = thing_get(argv[2], "imm");
	char data_name[NAME_MAX_BYTES + 2];
	struct tevent_immediate *im;
	struct thing *data;
	void *private_data;

	if (proxy == NULL || t == NULL || t->threaded || t->taken || t->freed || t->running > 0
	    || (t->queued && attached(t)) || is_within(proxy, t) || !may_be_freed(t)) {
		return;
	}
	snprintf(data_name, sizeof(data_name), "%s.d", argv[2]);
	data = thing_new(data_name, "data");
	if (data == NULL) {
		return;
	}
	/* The private data belongs to the proxy, too. */
	private_data = talloc(NULL, struct thing *);
	*(struct thing **)private_data = t;
	thing_made(data, private_data);
	data->taken = t->taken = true;
	t->ev = proxy->ev;
	t->via = proxy;
	snprintf(t->script, sizeof(t->script), "%s", argv[3]);
	im = t->ptr;
	tevent_thread_proxy_schedule(proxy->ptr, &im, proxy_handler, &private_data);
	saw("psched %s %s %s", argv[2], name_of(im), name_of(private_data));
}

static void op_tag(int argc, char **argv)
{
	struct thing *t = thing_get(argv[1], NULL);
	uint64_t tag = strtoull(argv[2], NULL, 10);

	if (t == NULL) {
		return;
	}
	if (is(t, "fd")) {
		tevent_fd_set_tag(t->ptr, tag);
	} else if (is(t, "timer")) {
		tevent_timer_set_tag(t->ptr, tag);
	} else if (is(t, "imm")) {
		tevent_immediate_set_tag(t->ptr, tag);
	} else if (is(t, "signal")) {
		tevent_signal_set_tag(t->ptr, tag);
	}
}

static uint64_t tag_of(const struct thing *t)
{
	return is(t, "fd") ? tevent_fd_get_tag(t->ptr) : is(t, "timer") ? tevent_timer_get_tag(t->ptr)
	     : is(t, "imm") ? tevent_immediate_get_tag(t->ptr) : is(t, "signal") ? tevent_signal_get_tag(t->ptr) : 0;
}

static void op_gettag(int argc, char **argv)
{
	struct thing *t = thing_get(argv[1], NULL);

	if (t != NULL) {
		saw("tag %s %llu", argv[1], (unsigned long long)tag_of(t));
	}
}

static void op_query(int argc, char **argv)
{
	struct thing *t = thing_get(argv[1], NULL), *other = thing_get(argv[2], NULL);

	if (t == NULL) {
		return;
	}
	if (is(t, "fd")) {
		saw("query %s flags=%d", argv[1], tevent_fd_get_flags(t->ptr));
	} else if (is(t, "ev") || is(t, "wrap")) {
		other = other != NULL && (is(other, "ev") || is(other, "wrap")) ? other : NULL;
		saw("query %s wrapper=%d signals=%d same=%d", argv[1], tevent_context_is_wrapper(t->ptr),
		    tevent_signal_support(t->ptr), tevent_context_same_loop(t->ptr, other != NULL ? other->ptr : NULL));
		if (is(t, "ev")) {
			saw("query %s events=%d", argv[1], tevent_common_have_events(t->ptr));
		}
	}
}
