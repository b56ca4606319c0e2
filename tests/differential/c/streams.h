/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * The streams driver's ends of wires: raw sockets that the program drives by hand, the bytes that go over them, and
 * how text is written in a program and in an observation.
 *
 * Loopback delivers synchronously as a rule, but says so nowhere. settle() makes sure: what was sent before has
 * arrived once a datagram to ourselves has.
 */
#ifndef DIFFERENTIAL_STREAMS_H
#define DIFFERENTIAL_STREAMS_H

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>

/* Where the paths of a program are, and the loopback address that no other program has. */
static char own_folder[64];
static char own_host[INET_ADDRSTRLEN];
static int marker[2] = { -1, -1 };
static struct sockaddr_in marker_name;

/* --- text ------------------------------------------------------------------------------------------------------- */

/* An argument as it is meant: %XX is a byte, $D the folder, $H the host. */
static char *meant(const char *text)
{
	char *out = malloc(strlen(text) * 64 + 1);
	size_t n = 0;

	for (; *text != '\0'; text++) {
		unsigned byte;
		const char *word = NULL;

		if (*text == '%' && sscanf(text + 1, "%2x", &byte) == 1) {
			out[n++] = byte;
			text += 2;
			continue;
		}
		if (text[0] == '$' && text[1] == 'D') {
			word = own_folder;
		} else if (text[0] == '$' && text[1] == 'H') {
			word = own_host;
		}
		if (word != NULL) {
			memcpy(out + n, word, strlen(word));
			n += strlen(word);
			text++;
			continue;
		}
		out[n++] = *text;
	}
	out[n] = '\0';
	return out;
}

/* The reverse, for observations. A port that the kernel has chosen is EPH. */
static const char *shown(const char *text, bool chosen)
{
	static char out[4096];
	size_t n = 0, end = strlen(text);
	const char *colon = strrchr(text, ':');
	bool eph = false;

	if (chosen && colon != NULL && atoi(colon + 1) >= 32768) {
		end = colon + 1 - text;
		eph = true;
	}
	for (size_t i = 0; i < end && n < sizeof(out) - 16;) {
		unsigned char byte = text[i];

		if (strncmp(text + i, own_folder, strlen(own_folder)) == 0) {
			n += sprintf(out + n, "$D");
			i += strlen(own_folder);
		} else if (strncmp(text + i, own_host, strlen(own_host)) == 0) {
			n += sprintf(out + n, "$H");
			i += strlen(own_host);
		} else {
			n += sprintf(out + n, byte <= ' ' || byte > '~' || byte == '%' ? "%%%02x" : "%c", byte);
			i++;
		}
	}
	sprintf(out + n, "%s", eph ? "EPH" : "");
	return out;
}

/* --- bytes ------------------------------------------------------------------------------------------------------ */

#define PATTERN_BYTES (1 << 21)
static unsigned char pattern[PATTERN_BYTES];
/* Each transfer has its own place in the pattern, so that lost, doubled or swapped bytes are seen. */
static unsigned transfers;

static void pattern_begin(void)
{
	for (size_t i = 0; i < PATTERN_BYTES; i++) {
		pattern[i] = i * 7 + (i >> 8) * 3;
	}
}

static const unsigned char *pattern_next(void)
{
	return pattern + transfers++ * 13 % 4096;
}

/* The sum that zlib.crc32() gives. */
static uint32_t checksum(const unsigned char *bytes, size_t length)
{
	static uint32_t table[256];
	uint32_t sum = 0xffffffff;

	for (uint32_t i = 0; table[1] == 0 || (i > 0 && i < 256); i++) {
		table[i] = i;
		for (int k = 0; k < 8; k++) {
			table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0xedb88320 : 0);
		}
	}
	for (size_t i = 0; i < length; i++) {
		sum = sum >> 8 ^ table[(sum ^ bytes[i]) & 255];
	}
	return ~sum;
}

static const char *bytes_shown(const unsigned char *bytes, size_t length)
{
	static char out[256];
	size_t n = 0;

	if (length <= 24) {
		for (size_t i = 0; i < length; i++) {
			n += sprintf(out + n, "%02x", bytes[i]);
		}
		out[n] = '\0';
	} else {
		sprintf(out, "%zu:%08x", length, checksum(bytes, length));
	}
	return out;
}

/* --- raw ends --------------------------------------------------------------------------------------------------- */

struct target;

struct raw {
	char name[NAME_MAX_BYTES];
	int fd;
	/* The stream or datagram context at the other end, if it is known. */
	struct target *peer;
	/* A listener or what it has accepted: the other end may be any stream that was connected. */
	bool loose;
};

#define RAWS_MAX 512
static struct raw raws[RAWS_MAX];
static int raws_count;
/* Whether the program has sockets that need settle(). */
static bool inet_used;

static struct raw *raw_get(const char *name)
{
	for (int i = raws_count - 1; i >= 0; i--) {
		if (raws[i].fd != -1 && strcmp(raws[i].name, name) == 0) {
			return &raws[i];
		}
	}
	return NULL;
}

static struct raw *raw_add(const char *name, int fd)
{
	struct raw *raw = raw_get(name);

	if (fd == -1) {
		return NULL;
	}
	if (raw != NULL) {
		close(raw->fd);
		raw->fd = -1;
	}
	if (raws_count == RAWS_MAX) {
		program_aborts("too many raw ends");
	}
	raw = &raws[raws_count++];
	snprintf(raw->name, sizeof(raw->name), "%s", name);
	raw->fd = fd;
	raw->peer = NULL;
	raw->loose = false;
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	return raw;
}

/* Not poll(), which the clock of programs replaces. */
static int really_poll(int fd, short events, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = events };
	struct timespec ts = { .tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000L };

	return syscall(SYS_ppoll, &p, 1, &ts, NULL, 0);
}

/* No descriptor can be made. */
static bool crowded;

static void settle(void)
{
	char byte = 0;

	if (!inet_used || (crowded && marker[0] == -1)) {
		return;
	}
	if (marker[0] == -1) {
		socklen_t length = sizeof(marker_name);
		marker[0] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		marker_name.sin_family = AF_INET;
		inet_pton(AF_INET, own_host, &marker_name.sin_addr);
		bind(marker[0], (struct sockaddr *)&marker_name, length);
		getsockname(marker[0], (struct sockaddr *)&marker_name, &length);
	}
	/* What has arrived may have been answered: a request to connect, data for nobody. */
	for (int i = 0; i < 3; i++) {
		sendto(marker[0], &byte, 1, 0, (struct sockaddr *)&marker_name, sizeof(marker_name));
		really_poll(marker[0], POLLIN, 5000);
		recv(marker[0], &byte, 1, MSG_DONTWAIT);
	}
}

/* A small segment would wait for the answer to the one before. */
static void no_delay(void)
{
	int one = 1;

	for (int fd = 3; fd < 256; fd++) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	}
}

static void folder_remove(void)
{
	DIR *folder = opendir(own_folder);
	struct dirent *entry;
	char path[512];

	if (folder == NULL) {
		return;
	}
	while ((entry = readdir(folder)) != NULL) {
		snprintf(path, sizeof(path), "%s/%s", own_folder, entry->d_name);
		unlink(path);
		rmdir(path);
	}
	closedir(folder);
	rmdir(own_folder);
}

static int descriptors_open(void)
{
	int n = 0;

	for (int fd = 0; fd < 1024; fd++) {
		n += fcntl(fd, F_GETFD) != -1;
	}
	return n;
}

static void raw_begin(void)
{
	int pid = getpid();

	/* Of the same length on both sides, as the length of a path matters. */
	snprintf(own_folder, sizeof(own_folder), "/tmp/tsd-%09dc", getppid());
	folder_remove();
	mkdir(own_folder, 0700);
	snprintf(own_host, sizeof(own_host), "127.%d.%d.%d", 1 + (pid >> 16 & 63), pid >> 8 & 255, 1 + pid % 254);
	pattern_begin();
}

/* --- operations on raw ends ------------------------------------------------------------------------------------- */

static void op_rwrite(int argc, char **argv)
{
	struct raw *raw = raw_get(argv[1]);
	size_t length = strtoul(argv[2], NULL, 10);
	const unsigned char *bytes;
	ssize_t n;

	if (raw == NULL || length > PATTERN_BYTES / 2) {
		return;
	}
	bytes = pattern_next();
	n = send(raw->fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n == -1 && errno == ENOTSOCK) {
		n = write(raw->fd, bytes, length);
	}
	saw("%s wrote %zd e=%d", argv[1], n, n == -1 ? errno : 0);
	settle();
}

static void op_rread(int argc, char **argv)
{
	static unsigned char buffer[1 << 20];
	struct raw *raw = raw_get(argv[1]);
	size_t length = strtoul(argv[2], NULL, 10);
	size_t have = 0;
	int err = 0;
	ssize_t n = 1;

	if (raw == NULL || length > sizeof(buffer)) {
		return;
	}
	/* As much as there is: how the kernel cuts it is its own business. */
	while (have < length && n > 0) {
		n = read(raw->fd, buffer + have, length - have);
		err = n == -1 ? errno : 0;
		have += n > 0 ? n : 0;
	}
	saw("%s read %s %s e=%d", argv[1], bytes_shown(buffer, have), n == 0 ? "eof" : "", err);
	settle();
}

static void op_rin(int argc, char **argv)
{
	struct raw *raw = raw_get(argv[1]);
	int n = -1;

	if (raw != NULL) {
		ioctl(raw->fd, FIONREAD, &n);
		saw("%s holds %d", argv[1], n);
	}
}

static void op_accept(int argc, char **argv)
{
	struct raw *listener = raw_get(argv[2]);
	int fd;

	if (listener == NULL || crowded) {
		return;
	}
	fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	saw("%s accepted %s e=%d", argv[2], fd == -1 ? "nothing" : argv[1], fd == -1 ? errno : 0);
	if (fd != -1) {
		raw_add(argv[1], fd)->loose = true;
	}
	no_delay();
}

static int raw_inet_socket(int kind, const char *host, int port)
{
	struct sockaddr_in name = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, kind | SOCK_CLOEXEC, 0), one = 1;

	inet_used = true;
	inet_pton(AF_INET, host, &name.sin_addr);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&name, sizeof(name)) == -1) {
		close(fd);
		return -1;
	}
	return fd;
}

static int raw_unix_socket(int kind, const char *path)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, kind | SOCK_CLOEXEC, 0);

	snprintf(name.sun_path, sizeof(name.sun_path), "%s", path);
	if (bind(fd, (struct sockaddr *)&name, sizeof(name)) == -1) {
		close(fd);
		return -1;
	}
	return fd;
}

/* listen L inet PORT BACKLOG; listen L unix PATH BACKLOG */
static void op_listen(int argc, char **argv)
{
	int fd, err;

	if (crowded) {
		return;
	}
	fd = strcmp(argv[2], "inet") == 0 ? raw_inet_socket(SOCK_STREAM, own_host, atoi(argv[3]))
					  : raw_unix_socket(SOCK_STREAM, meant(argv[3]));
	err = fd == -1 ? errno : 0;
	if (fd != -1 && listen(fd, atoi(argv[4])) == -1) {
		err = errno;
	}
	saw("%s listens e=%d", argv[1], err);
	if (fd != -1) {
		raw_add(argv[1], fd)->loose = true;
	}
}

/* rdgram R inet PORT; rdgram R unix PATH: a datagram socket */
static void op_rdgram(int argc, char **argv)
{
	int fd;

	if (crowded) {
		return;
	}
	fd = strcmp(argv[2], "inet") == 0 ? raw_inet_socket(SOCK_DGRAM, own_host, atoi(argv[3]))
					  : raw_unix_socket(SOCK_DGRAM, meant(argv[3]));
	saw("%s bound e=%d", argv[1], fd == -1 ? errno : 0);
	raw_add(argv[1], fd);
}

/* rsendto R inet PORT LENGTH; rsendto R unix PATH LENGTH */
static void op_rsendto(int argc, char **argv)
{
	struct raw *raw = raw_get(argv[1]);
	struct sockaddr_in inet = { .sin_family = AF_INET, .sin_port = htons(atoi(argv[3])) };
	struct sockaddr_un path = { .sun_family = AF_UNIX };
	bool is_inet = strcmp(argv[2], "inet") == 0;
	ssize_t n;

	if (raw == NULL) {
		return;
	}
	inet_pton(AF_INET, own_host, &inet.sin_addr);
	snprintf(path.sun_path, sizeof(path.sun_path), "%s", meant(argv[3]));
	n = sendto(raw->fd, pattern_next(), strtoul(argv[4], NULL, 10), MSG_DONTWAIT | MSG_NOSIGNAL,
		   is_inet ? (struct sockaddr *)&inet : (struct sockaddr *)&path, is_inet ? sizeof(inet) : sizeof(path));
	saw("%s sent %zd e=%d", argv[1], n, n == -1 ? errno : 0);
	settle();
}

/* rrecv R: one datagram */
static void op_rrecv(int argc, char **argv)
{
	static unsigned char buffer[1 << 20];
	struct raw *raw = raw_get(argv[1]);
	ssize_t n;

	if (raw == NULL) {
		return;
	}
	n = recv(raw->fd, buffer, sizeof(buffer), MSG_DONTWAIT);
	saw("%s received %s e=%d", argv[1], n == -1 ? "nothing" : bytes_shown(buffer, n), n == -1 ? errno : 0);
	settle();
}

/* file PATH; folder PATH; unlink PATH */
static void op_file(int argc, char **argv)
{
	int fd;

	if (crowded) {
		return;
	}
	fd = open(meant(argv[1]), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	saw("file %s", fd == -1 ? "no" : "yes");
	close(fd);
}

static void op_unlink(int argc, char **argv)
{
	saw("unlink %d", unlink(meant(argv[1])) == -1 ? errno : 0);
}

/* The older library keeps the descriptor of a failed connection until the request is received. */
static bool connecting(void);

/* crowd 1|0: from now on there are as many descriptors as there may be, or no longer */
static void op_crowd(int argc, char **argv)
{
	struct rlimit limit;
	int lowest;

	if (argv[1][0] == '1' && connecting()) {
		saw("skip");
		return;
	}
	settle();
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	crowded = false;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (argv[1][0] == '1') {
		lowest = dup(0);
		close(lowest);
		limit.rlim_cur = lowest;
		crowded = true;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static void op_exists(int argc, char **argv)
{
	struct stat st;

	saw("exists %d", lstat(meant(argv[1]), &st) == 0);
}

#endif
