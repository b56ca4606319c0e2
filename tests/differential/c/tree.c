/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * The driver of area "tree": chunks, who owns them, what they are called, what is in them.
 *
 * tree.py lists the operations. Three things that C leaves undefined cannot be seen from the names of what is alive,
 * and are looked up in the headers of chunks, here and in tree.py alike: a chunk that is dying, an owner that has died
 * before what it owned, and a loop of owners.
 */
/* talloc_append_string() */
#define TALLOC_DEPRECATED 1
#include "common.h"
/* So that the name of the type is "bool", also through another macro. */
#undef bool
typedef _Bool bool;

/* The head of talloc 2.4.0's struct talloc_chunk. */
struct header {
	unsigned flags;
	struct header *next, *prev, *parent, *child;
	void *refs, *destructor;
	const char *name;
	size_t size;
	struct limit *limit;
};

/* The head of its struct talloc_memlimit. */
struct limit {
	struct header *owner;
	struct limit *upper;
};

#define FLAG_LOOP 2
#define DEPTH_MAX 10000
/* A destructor that is asked so often by one line is asked for ever. */
#define ASKED_MAX 20

/* What the driver knows of an object. */
struct more {
	const char *type;
	/* The script of its destructor. */
	char script[NAME_MAX_BYTES];
	bool asked, replaced, emptied, limited, autofree, opaque;
	int asked_line, asked_count;
};

static struct object *asked[SCRIPT_DEPTH * 4];
static int asked_depth, replaced_count;

/* --- looking at chunks ------------------------------------------------------------------------------------------ */

static struct header *header_of(const void *ptr)
{
	return (struct header *)((const char *)ptr - CHUNK_HEADER);
}

static struct header *owner_of(struct header *h)
{
	while (h->prev != NULL) {
		h = h->prev;
	}
	return h->parent;
}

/* Past its destructor: its children are going. */
static bool is_dying(const void *ptr)
{
	return header_of(ptr)->flags & FLAG_LOOP;
}

/* Whether a search upwards would meet a dead chunk, or not end. */
static bool cannot_look_up(const void *ptr)
{
	struct header *h = header_of(ptr);
	int level;

	for (level = 0; level < DEPTH_MAX; level++) {
		h = owner_of(h);
		if (h == NULL) {
			return false;
		}
		if (h->flags & CHUNK_FLAG_FREE) {
			return true;
		}
	}
	return true;
}

static bool is_above(const void *ptr, const void *presumed)
{
	struct header *h = header_of(ptr);
	int level;

	for (level = 0; level < DEPTH_MAX && h != NULL; level++) {
		if (h == header_of(presumed)) {
			return true;
		}
		h = owner_of(h);
	}
	return false;
}

/* Bytes as text: printable ASCII as it is, everything else as \xNN. */
static const char *shown(const char *bytes, size_t size)
{
	static char text[8][65536];
	static int turn;
	char *out = text[turn = (turn + 1) % 8], *p = out;
	size_t i;

	for (i = 0; i < size && p < out + sizeof(text[0]) - 8; i++) {
		unsigned char c = bytes[i];
		if (c > 32 && c < 127 && c != '\\') {
			*p++ = c;
		} else if (c == ' ') {
			*p++ = c;
		} else {
			p += sprintf(p, "\\x%02x", c);
		}
	}
	*p = '\0';
	return out;
}

static const char *shown_string(const char *text)
{
	return text == NULL ? "(none)" : shown(text, strlen(text));
}

/* --- objects ---------------------------------------------------------------------------------------------------- */

/* "@" is the chunk whose destructor is running. */
static struct object *find(const char *name)
{
	if (strcmp(name, "@") == 0) {
		return asked_depth > 0 && asked[asked_depth - 1]->ptr != NULL ? asked[asked_depth - 1] : NULL;
	}
	return object_find(name);
}

static void *get(const char *name)
{
	struct object *object = find(name);

	return object == NULL ? NULL : object->ptr;
}

/* A context that is given by name: "-" is NULL; false if there is none of that name. */
static bool get_context(const char *name, void **ctx)
{
	*ctx = get(name);
	return *ctx != NULL || strcmp(name, "-") == 0;
}

static struct more *more_of(struct object *object)
{
	return object->more;
}

static void made(const char *name, const char *type, void *ptr)
{
	struct object *object;

	saw("%s %s", ptr != NULL ? "made" : "failed", name);
	object = object_add(name, "chunk", ptr);
	if (object != NULL) {
		struct more *more = calloc(1, sizeof(*more));
		more->type = type;
		object->more = more;
	}
}

static bool can_make(char **argv, void **ctx)
{
	return object_find(argv[1]) == NULL && strcmp(argv[1], "@") != 0 && get_context(argv[2], ctx);
}

/* --- types ------------------------------------------------------------------------------------------------------ */

struct pair {
	int64_t first, second;
};
struct blob {
	char bytes[1500];
};

struct type {
	const char *id;
	size_t size;
	void *(*new)(void *ctx);
	void *(*zero)(void *ctx);
	void *(*ptrtype)(void *ctx);
	void *(*array)(void *ctx, unsigned count);
	void *(*zero_array)(void *ctx, unsigned count);
	void *(*array_ptrtype)(void *ctx, unsigned count);
	void *(*realloc)(void *ctx, void *ptr, unsigned count);
	void *(*pooled)(void *ctx, unsigned count, size_t total);
	void *(*get)(void *ptr);
	void *(*get_abort)(void *ptr);
	void *(*find)(void *ptr);
	void (*set)(void *ptr);
	size_t (*length)(void *ptr);
};

#define TYPE(id, type) \
	static void *id##_new(void *ctx) { return talloc(ctx, type); } \
	static void *id##_zero(void *ctx) { return talloc_zero(ctx, type); } \
	static void *id##_ptrtype(void *ctx) { type *p = talloc_ptrtype(ctx, p); return p; } \
	static void *id##_array(void *ctx, unsigned count) { return talloc_array(ctx, type, count); } \
	static void *id##_zero_array(void *ctx, unsigned count) { return talloc_zero_array(ctx, type, count); } \
	static void *id##_array_ptrtype(void *ctx, unsigned count) \
	{ type *p = talloc_array_ptrtype(ctx, p, count); return p; } \
	static void *id##_realloc(void *ctx, void *ptr, unsigned count) { return talloc_realloc(ctx, ptr, type, count); } \
	static void *id##_pooled(void *ctx, unsigned count, size_t total) \
	{ return talloc_pooled_object(ctx, type, count, total); } \
	static void *id##_get(void *ptr) { return talloc_get_type(ptr, type); } \
	static void *id##_get_abort(void *ptr) { return talloc_get_type_abort(ptr, type); } \
	static void *id##_find(void *ptr) { return talloc_find_parent_bytype(ptr, type); } \
	static void id##_set(void *ptr) { talloc_set_type(ptr, type); } \
	static size_t id##_length(void *ptr) { type *p = ptr; return talloc_array_length(p); }

#define ROW(id, type) \
	{ #id, sizeof(type), id##_new, id##_zero, id##_ptrtype, id##_array, id##_zero_array, id##_array_ptrtype, \
	  id##_realloc, id##_pooled, id##_get, id##_get_abort, id##_find, id##_set, id##_length }

TYPE(char, char)
TYPE(uint8_t, uint8_t)
TYPE(uint16_t, uint16_t)
TYPE(int, int)
TYPE(int64_t, int64_t)
TYPE(bool, bool)
TYPE(double, double)
TYPE(string, char *)
TYPE(pointer, void *)
TYPE(pair, struct pair)
TYPE(blob, struct blob)

static const struct type types[] = {
	ROW(char, char),
	ROW(uint8_t, uint8_t),
	ROW(uint16_t, uint16_t),
	ROW(int, int),
	ROW(int64_t, int64_t),
	ROW(bool, bool),
	ROW(double, double),
	ROW(string, char *),
	ROW(pointer, void *),
	ROW(pair, struct pair),
	ROW(blob, struct blob),
};

static const struct type *type_of(const char *id)
{
	size_t i;

	for (i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (strcmp(types[i].id, id) == 0) {
			return &types[i];
		}
	}
	return NULL;
}

static void *zeroed(void *ptr)
{
	if (ptr != NULL) {
		memset(ptr, 0, talloc_get_size(ptr));
	}
	return ptr;
}

/* --- making ----------------------------------------------------------------------------------------------------- */

static void op_new(int argc, char **argv)
{
	void *ctx;

	if (can_make(argv, &ctx)) {
		made(argv[1], "context", talloc_new(ctx));
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

	if (object == NULL || more_of(object)->limited || more_of(object)->autofree) {
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

	if (object == NULL || more_of(object)->autofree) {
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
 * Not where C would free what it is working on: below a destructor that has set another one in its own place, and above
 * a chunk whose children are being freed by talloc_free_children().
 */
static bool can_free(void *ptr)
{
	int i;

	if (replaced_count > 0) {
		return false;
	}
	for (i = 0; i < objects_count; i++) {
		struct more *more = objects[i].more;

		if (objects[i].ptr != NULL && more != NULL && more->emptied && is_above(objects[i].ptr, ptr)) {
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

/* Whether a move would put a memory limit above itself, which C then goes round for ever. */
static bool hangs(const void *ctx, const void *ptr)
{
	struct header *root = header_of(ptr);
	struct limit *old = root->limit != NULL && root->limit->owner == root ? root->limit : NULL;

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

	/* A reference to what is going to be freed would dangle. */
	if (object != NULL && get_context(argv[1], &ctx) && !is_dying(object->ptr) && !more_of(object)->asked) {
		saw("ref %s", object_name(talloc_reference(ctx, object->ptr)));
	}
}

static void op_incref(int argc, char **argv)
{
	struct object *object = find(argv[1]);

	if (object != NULL && !is_dying(object->ptr) && !more_of(object)->asked) {
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

	if (ptr != NULL && other != NULL && !cannot_look_up(ptr)) {
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

static const struct operation operations[] = {
	{ "new", op_new },
	{ "named", op_named },
	{ "namedf", op_namedf },
	{ "init", op_init },
	{ "size", op_size },
	{ "zsize", op_zsize },
	{ "struct", op_struct },
	{ "zero", op_zero },
	{ "ptrtype", op_ptrtype },
	{ "array", op_array },
	{ "zarray", op_zarray },
	{ "arrptr", op_arrptr },
	{ "arrsize", op_arrsize },
	{ "memdup", op_memdup },
	{ "pool", op_pool },
	{ "pooled", op_pooled },
	{ "autofree", op_autofree },
	{ "strdup", op_strdup },
	{ "strndup", op_strndup },
	{ "asprintf", op_asprintf },
	{ "vasprintf", op_vasprintf },
	{ "append_none", op_append_none },
	{ "realloc", op_realloc },
	{ "reallocsize", op_reallocsize },
	{ "reallocfn", op_reallocfn },
	{ "append", op_append },
	{ "appendbuf", op_appendbuf },
	{ "nappend", op_nappend },
	{ "nappendbuf", op_nappendbuf },
	{ "fappend", op_fappend },
	{ "fappendbuf", op_fappendbuf },
	{ "vappend", op_vappend },
	{ "vappendbuf", op_vappendbuf },
	{ "addbuf", op_addbuf },
	{ "appendmacro", op_appendmacro },
	{ "fill", op_fill },
	{ "put", op_put },
	{ "destructor", op_destructor },
	{ "free", op_free },
	{ "FREE", op_FREE },
	{ "children", op_children },
	{ "unlink", op_unlink },
	{ "steal", op_steal },
	{ "move", op_move },
	{ "reparent", op_reparent },
	{ "ref", op_ref },
	{ "incref", op_incref },
	{ "setname", op_setname },
	{ "setconst", op_setconst },
	{ "settype", op_settype },
	{ "check", op_check },
	{ "gettype", op_gettype },
	{ "musttype", op_musttype },
	{ "findname", op_findname },
	{ "findtype", op_findtype },
	{ "isparent", op_isparent },
	{ "memlimit", op_memlimit },
	{ "track", op_track },
	{ "trackonly", op_trackonly },
	{ "untrack", op_untrack },
	{ "look", op_look },
	{ "tree", op_tree },
	{ "report", op_report },
	{ "totals", op_totals },
	{ "all", op_all },
	{ NULL, NULL },
};

static void on_log(const char *message)
{
	saw("log %s", message);
}

static void area_begin(void)
{
	talloc_set_log_fn(on_log);
}

static void area_end(void)
{
	op_all(0, NULL);
}

int main(void)
{
	return driver_main();
}
