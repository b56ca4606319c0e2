/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * What the operations of area "tree" need to know: headers of chunks, objects and what is known of them, types.
 *
 * Three things that C leaves undefined cannot be seen from the names of what is alive, and are looked up in the headers
 * of chunks, here and in Python alike: a chunk that is dying, an owner that has died before what it owned, and a loop of
 * owners.
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
	bool asked, replaced, emptied, limited, autofree, frame, opaque;
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

/* Whether a search upwards would meet a dead chunk; endless is the answer where it would not end. */
static bool is_lost(const void *ptr, bool endless)
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
	return endless;
}

/* Whether a search upwards would meet a dead chunk, or not end. */
static bool cannot_look_up(const void *ptr)
{
	return is_lost(ptr, true);
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
