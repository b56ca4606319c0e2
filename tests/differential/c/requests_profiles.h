/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The operations on profiles, of the driver of the area "requests". */

/* lib/util/tevent_req_profile.h is not installed. */
char *tevent_req_profile_string(TALLOC_CTX *mem_ctx, const struct tevent_req_profile *profile, unsigned indent,
				unsigned max_indent);
ssize_t tevent_req_profile_pack(const struct tevent_req_profile *profile, uint8_t *buf, size_t buflen);
ssize_t tevent_req_profile_unpack(const uint8_t *buf, size_t buflen, TALLOC_CTX *mem_ctx,
				  struct tevent_req_profile **p_profile);

/* Text as programs write it: "_" is a blank, "|" is NUL, "-" alone is NULL. */
static char *text_of(char *word, size_t *length)
{
	char *p;

	*length = strlen(word);
	if (strcmp(word, "-") == 0) {
		return NULL;
	}
	for (p = word; *p != '\0'; p++) {
		*p = *p == '_' ? ' ' : *p;
	}
	for (p = word; p < word + *length; p++) {
		*p = *p == '|' ? '\0' : *p;
	}
	return word;
}

static void show_bytes(const char *what, const uint8_t *bytes, size_t length)
{
	char *text = malloc(length + 1);
	size_t i;

	for (i = 0; i < length; i++) {
		text[i] = bytes[i] == '\0' ? '|' : bytes[i] == ' ' ? '_' : (char)bytes[i];
	}
	text[length] = '\0';
	saw("%s %s", what, text);
}

static void show_profile(const struct tevent_req_profile *profile, int depth)
{
	const struct tevent_req_profile *sub;
	const char *name, *start_location, *stop_location;
	struct timeval start, stop;
	enum tevent_req_state state;
	uint64_t error;
	pid_t pid;

	tevent_req_profile_get_name(profile, &name);
	tevent_req_profile_get_start(profile, &start_location, &start);
	tevent_req_profile_get_stop(profile, &stop_location, &stop);
	tevent_req_profile_get_status(profile, &pid, &state, &error);
	saw("%*s%s at %s %lld.%lld to %s %lld.%lld pid %d state %d error %llu", depth, "", name ? name : "NULL",
	    start_location ? start_location : "NULL", (long long)start.tv_sec, (long long)start.tv_usec,
	    stop_location ? stop_location : "NULL", (long long)stop.tv_sec, (long long)stop.tv_usec, (int)pid, (int)state,
	    (unsigned long long)error);
	for (sub = tevent_req_profile_get_subprofiles(profile); sub != NULL; sub = tevent_req_profile_next(sub)) {
		show_profile(sub, depth + 1);
	}
}

/* C reads NULL where a profile to be packed has no name or place. */
static bool is_complete(const struct tevent_req_profile *profile)
{
	const struct tevent_req_profile *sub;
	const char *name, *start_location, *stop_location;
	struct timeval time;

	tevent_req_profile_get_name(profile, &name);
	tevent_req_profile_get_start(profile, &start_location, &time);
	tevent_req_profile_get_stop(profile, &stop_location, &time);
	if (name == NULL || start_location == NULL || stop_location == NULL) {
		return false;
	}
	for (sub = tevent_req_profile_get_subprofiles(profile); sub != NULL; sub = tevent_req_profile_next(sub)) {
		if (!is_complete(sub)) {
			return false;
		}
	}
	return true;
}

/* set_profile R [blind] */
static void op_set_profile(int argc, char **argv)
{
	struct tevent_req *req = req_to_finish(argv[1]);

	if (req != NULL && (!is_received(req) || is_blind(argv[2]))) {
		bool result = tevent_req_set_profile(req);
		saw("set_profile -> %d", result);
	}
}

/* move_profile R OWNER P */
static void op_move_profile(int argc, char **argv)
{
	struct tevent_req *req = req_get(argv[1]);
	struct tevent_req_profile *profile;
	void *owner;

	if (req != NULL && owner_get(argv[2], &owner) && object_find(argv[3]) == NULL) {
		/* A profile cannot hang below itself. */
		profile = (struct tevent_req_profile *)tevent_req_get_profile(req);
		if (profile != NULL && owner != NULL && talloc_is_parent(owner, profile)) {
			return;
		}
		profile = tevent_req_move_profile(req, owner);
		saw("move_profile -> %d", profile != NULL);
		add(argv[3], "profile", profile);
	}
}

/* profile P OWNER */
static void op_profile(int argc, char **argv)
{
	void *owner;

	if (object_find(argv[1]) == NULL && owner_get(argv[2], &owner)) {
		struct tevent_req_profile *profile = tevent_req_profile_create(owner);
		add(argv[1], "profile", profile);
		note_of(profile)->loose = true;
	}
}

/* pname P TEXT; pstart P TEXT MICROSECONDS; pstop P TEXT MICROSECONDS; pstatus P PID STATE ERROR */
static void op_pname(int argc, char **argv)
{
	struct tevent_req_profile *profile = get(argv[1], "profile");
	size_t length;

	if (profile != NULL) {
		bool result = tevent_req_profile_set_name(profile, text_of(argv[2], &length));
		saw("set_name -> %d", result);
	}
}

static void op_pstart(int argc, char **argv)
{
	struct tevent_req_profile *profile = get(argv[1], "profile");
	size_t length;

	if (profile != NULL) {
		bool result = tevent_req_profile_set_start(profile, text_of(argv[2], &length), in_us(argv[3]));
		saw("set_start -> %d", result);
	}
}

static void op_pstop(int argc, char **argv)
{
	struct tevent_req_profile *profile = get(argv[1], "profile");
	size_t length;

	if (profile != NULL) {
		bool result = tevent_req_profile_set_stop(profile, text_of(argv[2], &length), in_us(argv[3]));
		saw("set_stop -> %d", result);
	}
}

static void op_pstatus(int argc, char **argv)
{
	struct tevent_req_profile *profile = get(argv[1], "profile");

	if (profile != NULL) {
		tevent_req_profile_set_status(profile, strtoll(argv[2], NULL, 0), strtoll(argv[3], NULL, 0),
					      strtoull(argv[4], NULL, 0));
	}
}

/* pappend P P2: P2 was made by hand and stands nowhere yet */
static void op_pappend(int argc, char **argv)
{
	struct tevent_req_profile *profile = get(argv[1], "profile");
	struct tevent_req_profile *sub = get(argv[2], "profile");

	if (profile != NULL && sub != NULL && note_of(sub)->loose && !talloc_is_parent(profile, sub)) {
		note_of(sub)->loose = false;
		tevent_req_profile_append_sub(profile, &sub);
		saw("append_sub left %d", sub != NULL);
	}
}

/* pshow X: a profile, or that of a request */
static void op_pshow(int argc, char **argv)
{
	const struct tevent_req_profile *profile = profile_get(argv[1]);

	if (profile != NULL) {
		saw("profile of %s", argv[1]);
		show_profile(profile, 1);
	}
}

/* pstring X INDENT MAX_INDENT */
static void op_pstring(int argc, char **argv)
{
	const struct tevent_req_profile *profile = profile_get(argv[1]);

	if (profile != NULL) {
		char *text = tevent_req_profile_string(hidden, profile, atoi(argv[2]), atoi(argv[3]));
		saw("pstring %s", text);
		talloc_free(text);
	}
}

/* pack X: as the text that unpack takes; repack P OWNER X: unpacked at once into P */
static void op_pack(int argc, char **argv)
{
	const struct tevent_req_profile *profile = profile_get(argv[1]);
	ssize_t length, asked;

	if (profile == NULL || !is_complete(profile)) {
		return;
	}
	asked = tevent_req_profile_pack(profile, NULL, 0);
	length = tevent_req_profile_pack(profile, packed, sizeof(packed));
	saw("pack: asked %d, too small %d", asked == length, tevent_req_profile_pack(profile, packed, 3) == length);
	tevent_req_profile_pack(profile, packed, sizeof(packed));
	show_bytes("packed", packed, length);
}

static void unpack(const char *name, void *owner, const uint8_t *bytes, size_t length, bool whole)
{
	struct tevent_req_profile *profile = NULL;
	ssize_t used = tevent_req_profile_unpack(bytes, length, owner, &profile);

	if (whole) {
		saw("unpack -> %d", used == (ssize_t)length);
	} else {
		saw("unpack -> %zd", used);
	}
	if (used != -1) {
		add(name, "profile", profile);
		note_of(profile)->loose = true;
		show_profile(profile, 1);
	}
}

static void op_repack(int argc, char **argv)
{
	const struct tevent_req_profile *profile = profile_get(argv[3]);
	void *owner;

	if (object_find(argv[1]) == NULL && owner_get(argv[2], &owner) && profile != NULL && is_complete(profile)) {
		ssize_t length = tevent_req_profile_pack(profile, packed, sizeof(packed));
		unpack(argv[1], owner, packed, length, true);
	}
}

/* unpack P OWNER TEXT */
static void op_unpack(int argc, char **argv)
{
	void *owner;
	size_t length;

	if (object_find(argv[1]) == NULL && owner_get(argv[2], &owner) && argv[3][0] != '\0') {
		char *text = text_of(argv[3], &length);
		if (text != NULL) {
			unpack(argv[1], owner, (const uint8_t *)text, length, false);
		}
	}
}
