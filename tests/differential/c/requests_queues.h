/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The operations on queues, of the driver of the area "requests". */

/* queue Q OWNER NAME: "-" is NULL */
static void op_queue(int argc, char **argv)
{
	void *owner;

	if (object_find(argv[1]) == NULL && owner_get(argv[2], &owner)) {
		const char *name = strcmp(argv[3], "-") == 0 ? NULL : argv[3];
		struct tevent_queue *queue = _tevent_queue_create(owner, name, "queue:1");
		saw("queue -> %d", queue != NULL);
		add(argv[1], "queue", queue);
	}
}

static struct turn *new_turn(const char *queue, const char *script)
{
	struct turn *turn = calloc(1, sizeof(*turn));

	remember(turn->script, script);
	remember(turn->queue, queue);
	turn->next = turns;
	turns = turn;
	return turn;
}

/* add Q E R SCRIPT: "-" is no trigger */
static void op_add(int argc, char **argv)
{
	struct tevent_queue *queue = get(argv[1], "queue");
	struct tevent_context *ev = ev_keep(argv[2]);
	struct tevent_req *req = req_get(argv[3]);

	if (queue != NULL && ev != NULL && req != NULL) {
		bool result = tevent_queue_add(queue, ev, req, strcmp(argv[4], "-") == 0 ? NULL : on_turn,
					       new_turn(argv[1], argv[4]));
		saw("add -> %d", result);
	}
}

/* entry N Q E R SCRIPT; optimize N Q E R SCRIPT */
static void enter(char **argv, bool optimize)
{
	struct tevent_queue *queue = get(argv[2], "queue");
	struct tevent_context *ev = ev_keep(argv[3]);
	struct tevent_req *req = req_get(argv[4]);
	tevent_queue_trigger_fn_t trigger = strcmp(argv[5], "-") == 0 ? NULL : on_turn;
	struct tevent_queue_entry *entry;
	struct turn *turn;

	if (object_find(argv[1]) != NULL || queue == NULL || ev == NULL || req == NULL) {
		return;
	}
	turn = new_turn(argv[2], argv[5]);
	if (optimize) {
		bool direct = tevent_queue_length(queue) == 0 && tevent_queue_running(queue) &&
			      note_of(req)->callback[0] == '\0';
		entry = tevent_queue_add_optimize_empty(queue, ev, req, trigger, turn);
		turn->taken = turn->taken || direct;
	} else {
		entry = tevent_queue_add_entry(queue, ev, req, trigger, turn);
	}
	saw("entry -> %d", entry != NULL);
	/*
	 * Its trigger may have run, and have freed it; in a run of its own it may even have made one of that name. Its
	 * place, in the pool of a request, may be something else's.
	 */
	objects_scan();
	if (entry != NULL && !chunk_is_dead(entry) && object_find(argv[1]) == NULL && object_of(entry) == NULL &&
	    strcmp(talloc_get_name(entry), "struct tevent_queue_entry") == 0) {
		add(argv[1], "entry", entry);
		note_of(entry)->turn = turn;
		note_of(entry)->queue = queue;
	}
}

static void op_entry(int argc, char **argv)
{
	enter(argv, false);
}

static void op_optimize(int argc, char **argv)
{
	enter(argv, true);
}

/* untrigger N [blind] */
static void op_untrigger(int argc, char **argv)
{
	struct tevent_queue_entry *entry = get(argv[1], "entry");

	if (entry != NULL && (!tevent_queue_running(note_of(entry)->queue) || is_blind(argv[2]))) {
		tevent_queue_entry_untrigger(entry);
		note_of(entry)->turn->taken = false;
	}
}

/* start Q; stop Q; length Q */
static void op_start(int argc, char **argv)
{
	struct tevent_queue *queue = get(argv[1], "queue");

	if (queue != NULL) {
		tevent_queue_start(queue);
	}
}

static void op_stop(int argc, char **argv)
{
	struct tevent_queue *queue = get(argv[1], "queue");

	if (queue != NULL) {
		tevent_queue_stop(queue);
	}
}

static void op_length(int argc, char **argv)
{
	struct tevent_queue *queue = get(argv[1], "queue");

	if (queue != NULL) {
		saw("length of %s: %zu, running %d", argv[1], tevent_queue_length(queue), tevent_queue_running(queue));
	}
}

/* tag N NUMBER: N "-" is NULL */
static void op_tag(int argc, char **argv)
{
	struct tevent_queue_entry *entry = get(argv[1], "entry");

	if (entry != NULL || strcmp(argv[1], "-") == 0) {
		tevent_queue_entry_set_tag(entry, strtoull(argv[2], NULL, 0));
		saw("tag %llu", (unsigned long long)tevent_queue_entry_get_tag(entry));
	}
}

/* watch E 0|1: trace callbacks of immediates; watch_queue E 0|1: of queue entries */
static void op_watch(int argc, char **argv)
{
	struct tevent_context *ev = main_get(argv[1]);

	/* Nobody begins to look on while a loop runs: see known.py. */
	if (ev != NULL && (loops == 0 || strcmp(argv[2], "0") == 0)) {
		tevent_set_trace_immediate_callback(ev, strcmp(argv[2], "0") == 0 ? NULL : on_trace_immediate, ev);
	}
}

static void op_watch_queue(int argc, char **argv)
{
	struct tevent_context *ev = main_get(argv[1]);

	if (ev != NULL) {
		tevent_set_trace_queue_callback(ev, strcmp(argv[2], "0") == 0 ? NULL : on_trace_queue, ev);
	}
}
