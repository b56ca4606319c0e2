/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * A named-pipe-auth (NPA) client and server made of Debian's own compiled tsocket and NPA
 * libraries: the "real peer" for a port of libcli/named_pipe_auth/npa_tstream.c.
 *
 *   npa_peer client NPDIR PIPE      connect, bind the lsarpc interface, print the bind_ack
 *   npa_peer server PATH msg|byte   accept, then echo u32-framed messages
 *
 * Build: see "samba-peer npa-peer" or the README beside this file.
 * Debian ships no npa_tstream.h, so the prototypes stand here.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/types.h>
#include <unistd.h>
#include <talloc.h>
#include <tevent.h>
#include <core/error.h>
#include <util/data_blob.h>
#include <util/time.h>
#include <tsocket.h>
#include <gen_ndr/misc.h>
#include <gen_ndr/security.h>
#include <gen_ndr/auth.h>
#include <rpc_common.h>

struct named_pipe_auth_req_info7;
struct tevent_req *tstream_npa_connect_send(TALLOC_CTX *, struct tevent_context *, const char *directory,
		const char *npipe, enum dcerpc_transport_t, const struct tsocket_address *remote_client_addr,
		const char *remote_client_name, const struct tsocket_address *local_server_addr,
		const char *local_server_name, const struct auth_session_info_transport *);
int _tstream_npa_connect_recv(struct tevent_req *, int *perrno, TALLOC_CTX *, struct tstream_context **,
		uint16_t *file_type, uint16_t *device_state, uint64_t *allocation_size, const char *location);
struct tevent_req *tstream_npa_accept_existing_send(TALLOC_CTX *, struct tevent_context *,
		struct tstream_context *plain, uint16_t file_type, uint16_t device_state,
		uint64_t allocation_size);
int _tstream_npa_accept_existing_recv(struct tevent_req *, int *perrno, TALLOC_CTX *,
		struct tstream_context **, struct named_pipe_auth_req_info7 **, enum dcerpc_transport_t *,
		struct tsocket_address **client, char **client_name, struct tsocket_address **server,
		char **server_name, struct auth_session_info_transport **, const char *location);
struct tevent_req *tstream_u32_read_send(TALLOC_CTX *, struct tevent_context *, size_t max,
		struct tstream_context *);
int tstream_u32_read_recv(struct tevent_req *, TALLOC_CTX *, uint8_t **, size_t *);

static void die(const char *what, int err)
{
	fprintf(stderr, "npa_peer: %s: %s\n", what, strerror(err));
	exit(1);
}

static void hex(const char *label, const uint8_t *p, size_t n)
{
	printf("%s", label);
	for (size_t i = 0; i < n; i++) {
		printf("%02x", p[i]);
	}
	printf("\n");
	fflush(stdout);
}

static void wait_for(struct tevent_req *req, struct tevent_context *ev, const char *what)
{
	if (req == NULL || !tevent_req_poll(req, ev)) {
		die(what, ENOMEM);
	}
}

static void put(struct tevent_context *ev, struct tstream_context *s, const void *p, size_t n)
{
	struct iovec iov = { .iov_base = (void *)(uintptr_t)p, .iov_len = n };
	int err;
	struct tevent_req *req = tstream_writev_send(s, ev, s, &iov, 1);
	wait_for(req, ev, "writev");
	if (tstream_writev_recv(req, &err) == -1) {
		die("writev", err);
	}
	talloc_free(req);
}

static void get(struct tevent_context *ev, struct tstream_context *s, void *p, size_t n)
{
	struct iovec iov = { .iov_base = p, .iov_len = n };
	int err;
	struct tevent_req *req = tstream_readv_send(s, ev, s, &iov, 1);
	wait_for(req, ev, "readv");
	if (tstream_readv_recv(req, &err) == -1) {
		die("readv", err);
	}
	talloc_free(req);
}

static const uint8_t bind_lsarpc[72] = {
	5, 0, 11, 3, 0x10, 0, 0, 0, 72, 0, 0, 0, 1, 0, 0, 0,
	0xb8, 0x10, 0xb8, 0x10, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0,
	0x78, 0x57, 0x34, 0x12, 0x34, 0x12, 0xcd, 0xab, 0xef, 0x00, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab,
	0, 0, 0, 0,
	0x04, 0x5d, 0x88, 0x8a, 0xeb, 0x1c, 0xc9, 0x11, 0x9f, 0xe8, 0x08, 0x00, 0x2b, 0x10, 0x48, 0x60,
	2, 0, 0, 0,
};

static int client(struct tevent_context *ev, const char *dir, const char *pipe)
{
	TALLOC_CTX *m = talloc_new(ev);
	struct tsocket_address *c = NULL, *s = NULL;
	struct tstream_context *st = NULL;
	uint16_t ft, ds;
	uint64_t alloc;
	int err;
	uint8_t buf[65536];
	/* The least that works: a token with one SID.  unix_token, info, unix_info stay NULL. */
	struct dom_sid anon = { .sid_rev_num = 1, .num_auths = 1, .id_auth = { 0, 0, 0, 0, 0, 5 },
				.sub_auths = { 7 } };
	struct security_token tok = { .num_sids = 1, .sids = &anon };
	struct auth_session_info si = { .security_token = &tok };
	struct auth_session_info_transport t = { .session_info = &si };

	if (tsocket_address_inet_from_strings(m, "ip", "127.0.0.1", 12345, &c) != 0 ||
	    tsocket_address_inet_from_strings(m, "ip", "127.0.0.1", 445, &s) != 0) {
		die("address", errno);
	}
	struct tevent_req *req = tstream_npa_connect_send(m, ev, dir, pipe, NCACN_NP, c, "peer", s,
							  "peersrv", &t);
	wait_for(req, ev, "npa connect");
	if (_tstream_npa_connect_recv(req, &err, m, &st, &ft, &ds, &alloc, __location__) == -1) {
		die("npa connect", err);
	}
	printf("connected %s file_type=%u device_state=0x%x allocation_size=%llu\n",
	       talloc_get_name(st), ft, ds, (unsigned long long)alloc);
	put(ev, st, bind_lsarpc, sizeof(bind_lsarpc));
	get(ev, st, buf, 16);
	printf("pending after 16 bytes: %zd\n", tstream_pending_bytes(st));
	size_t len = buf[8] | buf[9] << 8;
	get(ev, st, buf + 16, len - 16);
	hex("bind_ack ", buf, len);
	printf("ptype=%u pending=%zd\n", buf[2], tstream_pending_bytes(st));
	return buf[2] == 12 ? 0 : 1;
}

static void server(struct tevent_context *ev, const char *path, const char *mode)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int ls = socket(AF_UNIX, SOCK_STREAM, 0);
	strncpy(sun.sun_path, path, sizeof(sun.sun_path) - 1);
	unlink(path);
	if (bind(ls, (struct sockaddr *)&sun, sizeof(sun)) != 0 || listen(ls, 5) != 0) {
		die(path, errno);
	}
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		TALLOC_CTX *m = talloc_new(ev);
		struct tstream_context *plain = NULL, *st = NULL;
		struct tsocket_address *ca = NULL, *sa = NULL;
		char *cn = NULL, *sn = NULL;
		struct auth_session_info_transport *t = NULL;
		enum dcerpc_transport_t tr = NCA_UNKNOWN;
		int err = 0, fd = accept(ls, NULL, NULL);
		if (fd == -1) {
			die("accept", errno);
		}
		if (tstream_bsd_existing_socket(m, fd, &plain) != 0) {
			die("tstream_bsd_existing_socket", errno);
		}
		/* FILE_TYPE_BYTE_MODE_PIPE 1, FILE_TYPE_MESSAGE_MODE_PIPE 2 */
		struct tevent_req *req = tstream_npa_accept_existing_send(
			m, ev, plain, mode[0] == 'b' ? 1 : 2, 0xff | 0x0400 | 0x0100, 4096);
		wait_for(req, ev, "npa accept");
		if (_tstream_npa_accept_existing_recv(req, &err, m, &st, NULL, &tr, &ca, &cn, &sa, &sn,
						      &t, __location__) == -1) {
			printf("refused errno=%d\n", err);
			fflush(stdout);
			talloc_free(m);
			continue;
		}
		printf("accepted transport=%d client=%s %s server=%s %s sids=%u\n", (int)tr, cn,
		       tsocket_address_string(ca, m), sn, tsocket_address_string(sa, m),
		       t && t->session_info && t->session_info->security_token ?
				t->session_info->security_token->num_sids : 0);
		fflush(stdout);
		for (;;) {
			uint8_t *b = NULL;
			size_t n = 0;
			req = tstream_u32_read_send(m, ev, 0x00FFFFFF, st);
			wait_for(req, ev, "u32 read");
			err = tstream_u32_read_recv(req, m, &b, &n);
			talloc_free(req);
			if (err != 0) {
				printf("end errno=%d\n", err);
				fflush(stdout);
				break;
			}
			/* a message-mode writev of more than 65535 bytes is EMSGSIZE */
			for (size_t o = 0; o < n; o += 65535) {
				put(ev, st, b + o, n - o < 65535 ? n - o : 65535);
			}
			talloc_free(b);
		}
		talloc_free(st);
		talloc_free(m);
	}
}

int main(int argc, char **argv)
{
	struct tevent_context *ev = tevent_context_init(NULL);
	if (argc == 4 && strcmp(argv[1], "client") == 0) {
		return client(ev, argv[2], argv[3]);
	}
	if (argc == 4 && strcmp(argv[1], "server") == 0) {
		server(ev, argv[2], argv[3]);
	}
	fprintf(stderr, "usage: npa_peer client NPDIR PIPE | npa_peer server PATH msg|byte\n");
	return 2;
}
