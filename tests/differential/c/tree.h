/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * The operations of area "tree": chunks, who owns them, what they are called, what is in them.
 *
 * tree.py lists them.
 */
#include "tree_make.h"

/* --- content ---------------------------------------------------------------------------------------------------- */

static void op_fill(int argc, char **argv)
{
	struct object *object = find(argv[1]);

	if (object != NULL && strcmp(more_of(object)->type, "uint8_t") == 0) {
		size_t at = strtoul(argv[2], NULL, 10);
		if (at < talloc_get_size(object->ptr)) {
			((uint8_t *)object->ptr)[at] = atoi(argv[3]);
			stop_at_end(object);
		}
	}
}

static void op_put(int argc, char **argv)
{
	struct object *object = find(argv[1]);

	if (object != NULL && strcmp(more_of(object)->type, "int") == 0) {
		size_t at = strtoul(argv[2], NULL, 10);
		if ((at + 1) * sizeof(int) <= talloc_get_size(object->ptr)) {
			((int *)object->ptr)[at] = atoi(argv[3]);
		}
	}
}

static void show_content(struct object *object)
{
	struct more *more = more_of(object);
	size_t size = talloc_get_size(object->ptr);

	if (more->opaque) {
		return;
	}
	if (is_text(object)) {
		const char *bytes = object->ptr;
		size_t length = size;

		while (length > 0 && bytes[length - 1] == '\0') {
			length--;
		}
		if (size - length > 4) {
			saw("content %s %s\\x00*%zu", object->name, shown(bytes, length), size - length);
		} else {
			saw("content %s %s", object->name, shown(bytes, size));
		}
	} else if (strcmp(more->type, "int") == 0) {
		char text[4096] = "", *p = text;
		size_t i;

		for (i = 0; i < size / sizeof(int) && i < 100; i++) {
			p += sprintf(p, " %d", ((int *)object->ptr)[i]);
		}
		saw("content %s%s", object->name, text);
	}
}

/* --- destructors ------------------------------------------------------------------------------------------------ */

static int destroyed(void *ptr)
{
	struct object *object = object_find(object_name(ptr));
	struct more *more;
	int value;

	objects_scan();
	if (object == NULL) {
		program_aborts("a destructor is asked for what is unknown");
	}
	more = more_of(object);
	if (more->asked_line != lines_count) {
		more->asked_line = lines_count;
		more->asked_count = 0;
	}
	if (++more->asked_count > ASKED_MAX) {
		program_aborts("the destructor is asked for ever");
	}
	saw("asked %s parent %s", object->name, cannot_look_up(ptr) ? "?" : object_name(talloc_parent(ptr)));
	if (asked_depth == sizeof(asked) / sizeof(asked[0])) {
		return 0;
	}
	more->asked = true;
	more->replaced = false;
	asked[asked_depth++] = object;
	value = run_script(more->script);
	asked_depth--;
	replaced_count -= more->replaced;
	more->asked = more->replaced = false;
	saw("answer %s %d", object->name, value);
	return value;
}

static void op_destructor(int argc, char **argv)
{
	struct object *object = find(argv[1]);
	struct more *more;

	if (object == NULL || more_of(object)->autofree || more_of(object)->frame) {
		return;
	}
	more = more_of(object);
	if (more->asked && !more->replaced) {
		more->replaced = true;
		replaced_count++;
	}
	snprintf(more->script, sizeof(more->script), "%s", argv[2]);
	if (strcmp(argv[2], "-") == 0) {
		talloc_set_destructor((char *)object->ptr, NULL);
	} else {
		_talloc_set_destructor(object->ptr, destroyed);
	}
}

/* --- freeing ---------------------------------------------------------------------------------------------------- */

/*
 * Not where C would free what it is working on: below a destructor that has set another one in its own place, above a
 * chunk whose children are being freed by talloc_free_children(), and, within destructors, above a frame of the stack,
 * which may be at that itself.
 */
static bool can_free(void *ptr)
{
	int i;

	if (replaced_count > 0) {
		return false;
	}
	for (i = 0; i < objects_count; i++) {
		struct more *more = objects[i].more;

		if (objects[i].ptr == NULL || more == NULL || !is_above(objects[i].ptr, ptr)) {
			continue;
		}
		if (more->emptied || (more->frame && asked_depth > 0)) {
			return false;
		}
	}
	return true;
}

static void op_free(int argc, char **argv)
{
	void *ptr = get(argv[1]);

	if (ptr != NULL && can_free(ptr)) {
		saw("free %d", talloc_free(ptr));
	}
}

static void op_FREE(int argc, char **argv)
{
	void *ptr = get(argv[1]);

	if (ptr != NULL && can_free(ptr)) {
		TALLOC_FREE(ptr);
		saw("FREE %s", ptr == NULL ? "none" : "?");
	}
}

static void op_children(int argc, char **argv)
{
	struct object *object = find(argv[1]);
	bool outer;

	if (object != NULL && can_free(object->ptr)) {
		outer = more_of(object)->emptied;
		more_of(object)->emptied = true;
		talloc_free_children(object->ptr);
		more_of(object)->emptied = outer;
	}
}

static void op_unlink(int argc, char **argv)
{
	void *ctx, *ptr = get(argv[2]);

	if (ptr != NULL && get_context(argv[1], &ctx) && can_free(ptr) && !cannot_look_up(ptr)) {
		saw("unlink %d", talloc_unlink(ctx, ptr));
	}
}

/* --- moving and references -------------------------------------------------------------------------------------- */

static bool is_in_chain(const struct limit *limit, const struct limit *wanted)
{
	while (limit != NULL && limit != wanted) {
		limit = limit->upper;
	}
	return limit != NULL;
}

static bool has_limit_of(struct limit *chain, struct header *root, struct header *h, struct limit *old)
{
	struct limit *found = h == root ? old : h->limit;
	struct header *child;

	if (found != NULL && is_in_chain(chain, found) && (found == old || found->upper == old)) {
		return true;
	}
	for (child = h->child; child != NULL; child = child->next) {
		if (child != root && has_limit_of(chain, root, child, old)) {
			return true;
		}
	}
	return false;
}

/* An area that keeps off loops of owners. */
static bool no_loops;

/* Whether ptr is or owns a frame of the stack, and ctx is one or belongs to one: C's stack would not survive it. */
static bool frame_to_frame(const void *ctx, const void *ptr)
{
	bool from = false, to = false;
	int i;

	for (i = 0; i < objects_count; i++) {
		if (objects[i].ptr != NULL && objects[i].more != NULL && more_of(&objects[i])->frame) {
			from = from || is_above(objects[i].ptr, ptr);
			to = to || is_above(ctx, objects[i].ptr);
		}
	}
	return from && to;
}

/* Whether a move would put a memory limit above itself, which C then goes round for ever. */
static bool hangs(const void *ctx, const void *ptr)
{
	struct header *root = header_of(ptr);
	struct limit *old;

	if (no_loops && ctx != NULL && (is_above(ctx, ptr) || frame_to_frame(ctx, ptr))) {
		return true;
	}
	old = root->limit != NULL && root->limit->owner == root ? root->limit : NULL;

	return ctx != NULL && header_of(ctx)->limit != NULL && has_limit_of(header_of(ctx)->limit, root, root, old);
}

static void op_steal(int argc, char **argv)
{
	void *ctx, *ptr = get(argv[2]);

	if (ptr != NULL && get_context(argv[1], &ctx) && !is_dying(ptr) && !hangs(ctx, ptr)) {
		saw("steal %s", object_name(talloc_steal(ctx, ptr)));
	}
}

static void op_move(int argc, char **argv)
{
	void *ctx, *ptr = get(argv[2]);

	if (ptr != NULL && get_context(argv[1], &ctx) && !is_dying(ptr) && !hangs(ctx, ptr)) {
		char *from = ptr;
		saw("move %s", object_name(talloc_move(ctx, &from)));
	}
}

static void op_reparent(int argc, char **argv)
{
	void *from, *to, *ptr = get(argv[3]);

	if (ptr != NULL && get_context(argv[1], &from) && get_context(argv[2], &to) && !is_dying(ptr) &&
	    !hangs(to, ptr)) {
		saw("reparent %s", object_name(talloc_reparent(from, to, ptr)));
	}
}

static void op_ref(int argc, char **argv)
{
	struct object *object = find(argv[2]);
	void *ctx;

	if (no_loops && object != NULL && get_context(argv[1], &ctx) &&
	    (more_of(object)->frame || hangs(ctx, object->ptr))) {
		return;
	}
	/* A reference to what is going to be freed would dangle. */
	if (object != NULL && get_context(argv[1], &ctx) && !is_dying(object->ptr) && !more_of(object)->asked) {
		saw("ref %s", object_name(talloc_reference(ctx, object->ptr)));
	}
}

static void op_incref(int argc, char **argv)
{
	struct object *object = find(argv[1]);

	if (object != NULL && !is_dying(object->ptr) && !more_of(object)->asked && !more_of(object)->frame) {
		saw("incref %d", talloc_increase_ref_count(object->ptr));
	}
}

/* --- names ------------------------------------------------------------------------------------------------------ */

static void op_setname(int argc, char **argv)
{
	void *ptr = get(argv[1]);

	if (ptr != NULL) {
		saw("setname %s", shown_string(talloc_set_name(ptr, "%s-%d", argv[2], atoi(argv[3]))));
	}
}

static void op_setconst(int argc, char **argv)
{
	void *ptr = get(argv[1]);

	if (ptr != NULL) {
		talloc_set_name_const(ptr, strcmp(argv[2], "-") == 0 ? NULL : strdup(argv[2]));
	}
}

static void op_settype(int argc, char **argv)
{
	void *ptr = get(argv[1]);

	if (ptr != NULL) {
		type_of(argv[2])->set(ptr);
	}
}

static void op_check(int argc, char **argv)
{
	void *ptr = get(argv[1]);

	if (ptr != NULL) {
		saw("check %s", object_name(talloc_check_name(ptr, argv[2])));
	}
}

static void op_gettype(int argc, char **argv)
{
	void *ptr = get(argv[1]);

	if (ptr != NULL) {
		saw("gettype %s", object_name(type_of(argv[2])->get(ptr)));
	}
}

static void op_musttype(int argc, char **argv)
{
	void *ptr = get(argv[1]);

	if (ptr != NULL || strcmp(argv[1], "-") == 0) {
		saw("musttype %s", object_name(type_of(argv[2])->get_abort(ptr)));
	}
}

static void op_findname(int argc, char **argv)
{
	void *ptr = get(argv[1]);

	if (ptr != NULL && !cannot_look_up(ptr)) {
		saw("find %s", object_name(talloc_find_parent_byname(ptr, argv[2])));
	}
}

static void op_findtype(int argc, char **argv)
{
	void *ptr = get(argv[1]);

	if (ptr != NULL && !cannot_look_up(ptr)) {
		saw("find %s", object_name(type_of(argv[2])->find(ptr)));
	}
}

/* --- the whole -------------------------------------------------------------------------------------------------- */

static void op_isparent(int argc, char **argv)
{
	void *ptr = get(argv[1]), *other = get(argv[2]);

	if (ptr != NULL && other != NULL && !is_lost(ptr, false)) {
		saw("isparent %d", talloc_is_parent(ptr, other));
	}
}

static void op_memlimit(int argc, char **argv)
{
	struct object *object = find(argv[1]);

	/* In a loop C would count with numbers that it has not set yet. */
	if (object != NULL && !is_dying(object->ptr) && !cannot_look_up(object->ptr)) {
		more_of(object)->limited = true;
		saw("memlimit %d", talloc_set_memlimit(object->ptr, strtoul(argv[2], NULL, 10)));
	}
}

static void op_track(int argc, char **argv)
{
	if (asked_depth == 0) {
		talloc_enable_null_tracking();
	}
}

static void op_trackonly(int argc, char **argv)
{
	if (asked_depth == 0) {
		talloc_enable_null_tracking_no_autofree();
	}
}

static void op_untrack(int argc, char **argv)
{
	if (asked_depth == 0) {
		talloc_disable_null_tracking();
	}
}

static void look(struct object *object)
{
	void *ptr = object->ptr;
	bool up = !cannot_look_up(ptr);
	const struct type *type = type_of(more_of(object)->type);

	saw("look %s parent %s (%s) name %s size %zu refs %zu blocks %zu total %zu length %zu", object->name,
	    up ? object_name(talloc_parent(ptr)) : "?", up ? shown_string(talloc_parent_name(ptr)) : "?",
	    shown_string(talloc_get_name(ptr)), talloc_get_size(ptr), talloc_reference_count(ptr),
	    talloc_total_blocks(ptr), talloc_total_size(ptr),
	    type == NULL ? talloc_array_length(ptr) : type->length(ptr));
	show_content(object);
}

static void op_look(int argc, char **argv)
{
	struct object *object = find(argv[1]);

	if (object != NULL) {
		look(object);
	}
}

static void visit(const void *ptr, int depth, int max_depth, int is_ref, void *private_data)
{
	const char *name = object_name(ptr);

	saw("tree %d %d %d %s", depth, max_depth, is_ref,
	    strcmp(name, "?") == 0 ? shown_string(talloc_get_name(ptr)) : name);
}

static void op_tree(int argc, char **argv)
{
	void *ptr;

	if (get_context(argv[1], &ptr)) {
		talloc_report_depth_cb(ptr, atoi(argv[2]), atoi(argv[3]), visit, NULL);
	}
}

static void op_report(int argc, char **argv)
{
	void *ptr;

	if (get_context(argv[1], &ptr)) {
		char *text = NULL, *line, *rest = NULL;
		size_t size;
		FILE *f = open_memstream(&text, &size);

		if (strcmp(argv[2], "full") == 0) {
			talloc_report_full(ptr, f);
		} else if (strcmp(argv[2], "short") == 0) {
			talloc_report(ptr, f);
		} else if (strcmp(argv[2], "parents") == 0) {
			if (ptr == NULL || !cannot_look_up(ptr)) {
				talloc_show_parents(ptr, f);
			}
		} else {
			talloc_report_depth_file(ptr, atoi(argv[2]), atoi(argv[3]), f);
		}
		fclose(f);
		for (line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
			saw("report %s", shown_string(line));
		}
	}
}

static void op_totals(int argc, char **argv)
{
	saw("totals %zu %zu", talloc_total_size(NULL), talloc_total_blocks(NULL));
}

static void op_all(int argc, char **argv)
{
	int i;

	for (i = 0; i < objects_count; i++) {
		void *ptr = objects[i].ptr;

		if (ptr == NULL) {
			continue;
		}
		look(&objects[i]);
		if (talloc_parent(ptr) == NULL || strcmp(object_name(talloc_parent(ptr)), "?") == 0) {
			talloc_report_depth_cb(ptr, 0, -1, visit, NULL);
		}
	}
	op_totals(argc, argv);
}

#define TREE_OPERATIONS \
	{ "new", op_new }, \
	{ "chain", op_chain }, \
	{ "named", op_named }, \
	{ "namedf", op_namedf }, \
	{ "init", op_init }, \
	{ "size", op_size }, \
	{ "zsize", op_zsize }, \
	{ "struct", op_struct }, \
	{ "zero", op_zero }, \
	{ "ptrtype", op_ptrtype }, \
	{ "array", op_array }, \
	{ "zarray", op_zarray }, \
	{ "arrptr", op_arrptr }, \
	{ "arrsize", op_arrsize }, \
	{ "memdup", op_memdup }, \
	{ "pool", op_pool }, \
	{ "pooled", op_pooled }, \
	{ "autofree", op_autofree }, \
	{ "strdup", op_strdup }, \
	{ "strndup", op_strndup }, \
	{ "asprintf", op_asprintf }, \
	{ "vasprintf", op_vasprintf }, \
	{ "append_none", op_append_none }, \
	{ "realloc", op_realloc }, \
	{ "reallocsize", op_reallocsize }, \
	{ "reallocfn", op_reallocfn }, \
	{ "append", op_append }, \
	{ "appendbuf", op_appendbuf }, \
	{ "nappend", op_nappend }, \
	{ "nappendbuf", op_nappendbuf }, \
	{ "fappend", op_fappend }, \
	{ "fappendbuf", op_fappendbuf }, \
	{ "vappend", op_vappend }, \
	{ "vappendbuf", op_vappendbuf }, \
	{ "addbuf", op_addbuf }, \
	{ "appendmacro", op_appendmacro }, \
	{ "fill", op_fill }, \
	{ "put", op_put }, \
	{ "destructor", op_destructor }, \
	{ "free", op_free }, \
	{ "FREE", op_FREE }, \
	{ "children", op_children }, \
	{ "unlink", op_unlink }, \
	{ "steal", op_steal }, \
	{ "move", op_move }, \
	{ "reparent", op_reparent }, \
	{ "ref", op_ref }, \
	{ "incref", op_incref }, \
	{ "setname", op_setname }, \
	{ "setconst", op_setconst }, \
	{ "settype", op_settype }, \
	{ "check", op_check }, \
	{ "gettype", op_gettype }, \
	{ "musttype", op_musttype }, \
	{ "findname", op_findname }, \
	{ "findtype", op_findtype }, \
	{ "isparent", op_isparent }, \
	{ "memlimit", op_memlimit }, \
	{ "track", op_track }, \
	{ "trackonly", op_trackonly }, \
	{ "untrack", op_untrack }, \
	{ "look", op_look }, \
	{ "tree", op_tree }, \
	{ "report", op_report }, \
	{ "totals", op_totals }, \
	{ "all", op_all },

static void on_log(const char *message)
{
	saw("log %s", message);
}

static void tree_begin(void)
{
	talloc_set_log_fn(on_log);
}

static void tree_end(void)
{
	op_all(0, NULL);
}
