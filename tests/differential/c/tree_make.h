/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The operations of area "tree" that make chunks and give them another size. */
#include "tree_chunks.h"

/* --- making ----------------------------------------------------------------------------------------------------- */

static void op_new(int argc, char **argv)
{
	void *ctx;

	if (can_make(argv, &ctx)) {
		made(argv[1], "context", talloc_new(ctx));
	}
}

/* As many contexts, each the owner of the next; the last bears the name. */
static void op_chain(int argc, char **argv)
{
	void *ctx;

	if (can_make(argv, &ctx)) {
		int count = atoi(argv[3]);

		while (count-- > 1 && ctx != NULL) {
			ctx = talloc_new(ctx);
		}
		made(argv[1], "context", ctx == NULL ? NULL : talloc_new(ctx));
	}
}

static void op_named(int argc, char **argv)
{
	void *ctx;

	if (can_make(argv, &ctx)) {
		size_t size = strtoul(argv[3], NULL, 10);
		made(argv[1], size == 0 ? "context" : "uint8_t", zeroed(talloc_named_const(ctx, size, strdup(argv[4]))));
	}
}

static void op_namedf(int argc, char **argv)
{
	void *ctx;

	if (can_make(argv, &ctx)) {
		size_t size = strtoul(argv[3], NULL, 10);
		made(argv[1], size == 0 ? "context" : "uint8_t",
		     zeroed(talloc_named(ctx, size, "%s-%d", argv[4], atoi(argv[5]))));
	}
}

static void op_init(int argc, char **argv)
{
	if (object_find(argv[1]) == NULL && strcmp(argv[1], "@") != 0) {
		made(argv[1], "context", talloc_init("%s-%d", argv[2], atoi(argv[3])));
	}
}

static void op_size(int argc, char **argv)
{
	void *ctx;

	if (can_make(argv, &ctx)) {
		made(argv[1], "uint8_t", zeroed(talloc_size(ctx, strtoul(argv[3], NULL, 10))));
	}
}

static void op_zsize(int argc, char **argv)
{
	void *ctx;

	if (can_make(argv, &ctx)) {
		made(argv[1], "uint8_t", talloc_zero_size(ctx, strtoul(argv[3], NULL, 10)));
	}
}

static void op_struct(int argc, char **argv)
{
	void *ctx;

	if (can_make(argv, &ctx)) {
		made(argv[1], type_of(argv[3])->id, zeroed(type_of(argv[3])->new(ctx)));
	}
}

static void op_zero(int argc, char **argv)
{
	void *ctx;

	if (can_make(argv, &ctx)) {
		made(argv[1], type_of(argv[3])->id, type_of(argv[3])->zero(ctx));
	}
}

static void op_ptrtype(int argc, char **argv)
{
	void *ctx;

	if (can_make(argv, &ctx)) {
		made(argv[1], type_of(argv[3])->id, zeroed(type_of(argv[3])->ptrtype(ctx)));
	}
}

static void op_array(int argc, char **argv)
{
	void *ctx;

	if (can_make(argv, &ctx)) {
		made(argv[1], type_of(argv[3])->id, zeroed(type_of(argv[3])->array(ctx, strtoul(argv[4], NULL, 10))));
	}
}

static void op_zarray(int argc, char **argv)
{
	void *ctx;

	if (can_make(argv, &ctx)) {
		made(argv[1], type_of(argv[3])->id, type_of(argv[3])->zero_array(ctx, strtoul(argv[4], NULL, 10)));
	}
}

static void op_arrptr(int argc, char **argv)
{
	void *ctx;

	if (can_make(argv, &ctx)) {
		made(argv[1], type_of(argv[3])->id,
		     zeroed(type_of(argv[3])->array_ptrtype(ctx, strtoul(argv[4], NULL, 10))));
	}
}

static void op_arrsize(int argc, char **argv)
{
	void *ctx;

	if (can_make(argv, &ctx)) {
		made(argv[1], "uint8_t",
		     zeroed(talloc_array_size(ctx, strtoul(argv[3], NULL, 10), strtoul(argv[4], NULL, 10))));
	}
}

static void op_memdup(int argc, char **argv)
{
	struct object *from = find(argv[3]);
	void *ctx;

	if (from != NULL && can_make(argv, &ctx)) {
		const char *type = more_of(from)->type;
		bool opaque = more_of(from)->opaque;
		struct object *copy;

		made(argv[1], type, talloc_memdup(ctx, from->ptr, talloc_get_size(from->ptr)));
		copy = object_find(argv[1]);
		if (copy != NULL) {
			more_of(copy)->opaque = opaque;
		}
	}
}

static void op_pool(int argc, char **argv)
{
	void *ctx;

	if (can_make(argv, &ctx)) {
		made(argv[1], "context", talloc_pool(ctx, strtoul(argv[3], NULL, 10)));
	}
}

static void op_pooled(int argc, char **argv)
{
	void *ctx;

	if (can_make(argv, &ctx)) {
		made(argv[1], type_of(argv[3])->id,
		     zeroed(type_of(argv[3])->pooled(ctx, strtoul(argv[4], NULL, 10), strtoul(argv[5], NULL, 10))));
	}
}

static void op_autofree(int argc, char **argv)
{
	if (object_find(argv[1]) == NULL && strcmp(argv[1], "@") != 0) {
		void *ptr = talloc_autofree_context();
		const char *name = object_name(ptr);

		if (strcmp(name, "?") != 0) {
			saw("autofree is %s", name);
			return;
		}
		made(argv[1], "context", ptr);
		more_of(object_find(argv[1]))->autofree = true;
	}
}

/* --- strings ---------------------------------------------------------------------------------------------------- */

static void op_strdup(int argc, char **argv)
{
	void *ctx;

	if (can_make(argv, &ctx)) {
		made(argv[1], "char", talloc_strdup(ctx, argv[3]));
	}
}

static void op_strndup(int argc, char **argv)
{
	void *ctx;

	if (can_make(argv, &ctx)) {
		made(argv[1], "char", talloc_strndup(ctx, argv[3], atoi(argv[4])));
	}
}

/* The formats that programs choose from, each with a text and a number, and what is done with the result. */
#define FORMATTED(call, prefix, index, text, number) \
	(index) == 0 ? call(prefix "%s", text) : \
	(index) == 1 ? call(prefix "%d", number) : \
	(index) == 2 ? call(prefix "a%cb%s", 0, text) : \
	(index) == 3 ? call(prefix "%.*s", 0, text) : \
	(index) == 4 ? call(prefix "<%8.3s|%-5x>", text, (unsigned)number) : \
	call(prefix "plain")

static char *vmake(void *ctx, const char *format, ...)
{
	va_list ap;
	char *s;

	va_start(ap, format);
	s = talloc_vasprintf(ctx, format, ap);
	va_end(ap);
	return s;
}

static void op_vasprintf(int argc, char **argv)
{
	void *ctx;
	int index = atoi(argv[3]), number = atoi(argv[5]);
	const char *text = argv[4];

	if (can_make(argv, &ctx)) {
#define CALL(...) vmake(ctx, __VA_ARGS__)
		made(argv[1], "char", FORMATTED(CALL, "", index, text, number));
#undef CALL
	}
}

static void op_asprintf(int argc, char **argv)
{
	void *ctx;
	int index = atoi(argv[3]), number = atoi(argv[5]);
	const char *text = argv[4];

	if (can_make(argv, &ctx)) {
#define CALL(...) talloc_asprintf(ctx, __VA_ARGS__)
		made(argv[1], "char", FORMATTED(CALL, "", index, text, number));
#undef CALL
	}
}

/* Appending to NULL makes a string at top level. */
static void op_append_none(int argc, char **argv)
{
	if (object_find(argv[1]) == NULL && strcmp(argv[1], "@") != 0) {
		made(argv[1], "char", talloc_strdup_append(NULL, argv[2]));
	}
}

/* --- another size ----------------------------------------------------------------------------------------------- */

/* While destructors run no chunk may be moved in memory that C's code still points to. */
static bool can_resize(struct object *object)
{
	int i;

	if (object == NULL || more_of(object)->limited || more_of(object)->autofree ||
	    more_of(object)->frame) {
		return false;
	}
	for (i = 0; i < objects_count; i++) {
		struct more *more = objects[i].more;

		if (objects[i].ptr == NULL || more == NULL) {
			continue;
		}
		if (!more->asked && !more->emptied && !is_dying(objects[i].ptr)) {
			continue;
		}
		if (is_above(object->ptr, objects[i].ptr) || header_of(objects[i].ptr)->parent == header_of(object->ptr)) {
			return false;
		}
	}
	return true;
}

static bool is_text(struct object *object)
{
	const char *type = object == NULL ? "" : more_of(object)->type;

	return strcmp(type, "char") == 0 || strcmp(type, "uint8_t") == 0;
}

/* Where a chunk is named by its content, and that has lost its NUL, C would read on behind it. */
static void stop_at_end(struct object *object)
{
	void *ptr = object->ptr;

	if (talloc_get_name(ptr) == ptr && (!is_text(object) || memchr(ptr, 0, talloc_get_size(ptr)) == NULL)) {
		talloc_set_name_const(ptr, "cut");
	}
}

static void resized(const char *what, struct object *object, const char *type, void *ptr)
{
	saw("%s %s %s", what, object->name, ptr != NULL ? "ok" : "failed");
	if (ptr != NULL) {
		struct more *more = more_of(object);

		if (type_of(more->type) == NULL || type_of(type)->size != type_of(more->type)->size) {
			more->opaque = true;
		}
		more->type = type;
		object->ptr = ptr;
		stop_at_end(object);
	}
}

static bool can_free(void *ptr);

static void op_realloc(int argc, char **argv)
{
	const struct type *type = type_of(argv[3]);
	struct object *object = find(argv[2]);
	unsigned count = strtoul(argv[4], NULL, 10);
	void *ctx, *ptr;
	size_t old;

	if (object == NULL || !get_context(argv[1], &ctx)) {
		return;
	}
	if (count == 0) {
		if (can_free(object->ptr) && !cannot_look_up(object->ptr)) {
			saw("realloc %s", type->realloc(ctx, object->ptr, 0) == NULL ? "none" : "?");
		}
		return;
	}
	if (!can_resize(object)) {
		return;
	}
	old = talloc_get_size(object->ptr);
	ptr = type->realloc(ctx, object->ptr, count);
	if (ptr != NULL && talloc_get_size(ptr) > old) {
		memset((char *)ptr + old, 0, talloc_get_size(ptr) - old);
	}
	resized("realloc", object, type->id, ptr);
}

static void realloc_bytes(char **argv, bool fn)
{
	struct object *object = find(argv[2]);
	size_t size = strtoul(argv[3], NULL, 10);
	void *ctx, *ptr;
	size_t old;

	if (object == NULL || !get_context(argv[1], &ctx) || size == 0 || !can_resize(object)) {
		return;
	}
	old = talloc_get_size(object->ptr);
	ptr = fn ? talloc_realloc_fn(ctx, object->ptr, size) : talloc_realloc_size(ctx, object->ptr, size);
	if (ptr != NULL && size > old) {
		memset((char *)ptr + old, 0, size - old);
	}
	resized("realloc", object, "uint8_t", ptr);
}

static void op_reallocsize(int argc, char **argv)
{
	realloc_bytes(argv, false);
}

static void op_reallocfn(int argc, char **argv)
{
	realloc_bytes(argv, true);
}

/* Whether a string can be appended to, where C looks for its first NUL. */
static bool can_append(struct object *object, bool to_nul)
{
	if (!is_text(object) || more_of(object)->opaque || !can_resize(object)) {
		return false;
	}
	return !to_nul || memchr(object->ptr, 0, talloc_get_size(object->ptr)) != NULL;
}

static void op_append(int argc, char **argv)
{
	struct object *object = find(argv[1]);

	if (can_append(object, true)) {
		resized("append", object, "char", talloc_strdup_append(object->ptr, argv[2]));
	}
}

static void op_appendbuf(int argc, char **argv)
{
	struct object *object = find(argv[1]);

	if (can_append(object, false)) {
		resized("append", object, "char", talloc_strdup_append_buffer(object->ptr, argv[2]));
	}
}

static void op_nappend(int argc, char **argv)
{
	struct object *object = find(argv[1]);

	if (can_append(object, true)) {
		resized("append", object, "char", talloc_strndup_append(object->ptr, argv[2], atoi(argv[3])));
	}
}

static void op_nappendbuf(int argc, char **argv)
{
	struct object *object = find(argv[1]);

	if (can_append(object, false)) {
		resized("append", object, "char", talloc_strndup_append_buffer(object->ptr, argv[2], atoi(argv[3])));
	}
}

static char *vappend(char *s, bool buffer, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	s = buffer ? talloc_vasprintf_append_buffer(s, format, ap) : talloc_vasprintf_append(s, format, ap);
	va_end(ap);
	return s;
}

enum append { APPEND, APPEND_BUFFER, VAPPEND, VAPPEND_BUFFER, ADDBUF };

static void append_formatted(char **argv, enum append how)
{
	struct object *object = find(argv[1]);
	int index = atoi(argv[2]), number = atoi(argv[4]);
	const char *text = argv[3];
	char *s;

	if (!can_append(object, how == APPEND || how == VAPPEND) || (how == ADDBUF && !can_free(object->ptr))) {
		return;
	}
	s = object->ptr;
	if (how == APPEND) {
#define CALL(...) talloc_asprintf_append(s, __VA_ARGS__)
		s = FORMATTED(CALL, "", index, text, number);
#undef CALL
	} else if (how == APPEND_BUFFER) {
#define CALL(...) talloc_asprintf_append_buffer(s, __VA_ARGS__)
		s = FORMATTED(CALL, "", index, text, number);
#undef CALL
	} else if (how == ADDBUF) {
#define CALL(...) (talloc_asprintf_addbuf(&s, __VA_ARGS__), s)
		s = FORMATTED(CALL, "", index, text, number);
#undef CALL
	} else {
#define CALL(...) vappend(s, how == VAPPEND_BUFFER, __VA_ARGS__)
		s = FORMATTED(CALL, "", index, text, number);
#undef CALL
	}
	resized("append", object, index == 3 ? more_of(object)->type : "char", s);
}

static void op_fappend(int argc, char **argv)
{
	append_formatted(argv, APPEND);
}

static void op_fappendbuf(int argc, char **argv)
{
	append_formatted(argv, APPEND_BUFFER);
}

static void op_vappend(int argc, char **argv)
{
	append_formatted(argv, VAPPEND);
}

static void op_vappendbuf(int argc, char **argv)
{
	append_formatted(argv, VAPPEND_BUFFER);
}

static void op_addbuf(int argc, char **argv)
{
	append_formatted(argv, ADDBUF);
}

/* Makes the string, or appends to it. */
static void op_appendmacro(int argc, char **argv)
{
	struct object *object = find(argv[2]);
	char *s = object == NULL ? NULL : object->ptr;
	void *ctx;

	if (!get_context(argv[1], &ctx)) {
		return;
	}
	if (object != NULL) {
		if (can_append(object, true)) {
			resized("append", object, "char", talloc_append_string(ctx, s, argv[3]));
		}
	} else if (strcmp(argv[2], "@") != 0) {
		made(argv[2], "char", talloc_append_string(ctx, s, argv[3]));
	}
}
