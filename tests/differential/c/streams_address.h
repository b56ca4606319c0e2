/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The streams driver: addresses; a part of streams.c. */

/* --- addresses -------------------------------------------------------------------------------------------------- */

/* An address that the kernel has filled in has a port that the kernel may have chosen. */
static void address_add(const char *name, struct tsocket_address *addr, bool from_kernel)
{
	struct object *object = object_add(name, "addr", addr);

	if (object != NULL) {
		object->more = from_kernel ? object : NULL;
	}
}

static bool from_kernel(const char *name)
{
	struct object *object = object_find(name);

	return object != NULL && object->more != NULL;
}

static void address_shown(const char *name, int ret, struct tsocket_address *addr)
{
	int err = errno;
	char *text;

	if (ret != 0) {
		saw("%s ret=%d e=%d", name, ret, err);
		return;
	}
	text = tsocket_address_string(addr, NULL);
	saw("%s ret=%d %s", name, ret, text == NULL ? "nothing" : shown(text, false));
	address_add(name, addr, false);
}

/* "null" is NULL. */
static const char *text_of(const char *word)
{
	return strcmp(word, "null") == 0 ? NULL : meant(word);
}

/* inet A C FAMILY TEXT PORT; hostport A C FAMILY TEXT PORT */
static void op_inet(int argc, char **argv)
{
	struct tsocket_address *addr = NULL;
	TALLOC_CTX *mem_ctx;
	int ret;

	if (parent_get(argv[2], &mem_ctx)) {
		errno = 0;
		ret = tsocket_address_inet_from_strings(mem_ctx, meant(argv[3]), text_of(argv[4]), atoi(argv[5]), &addr);
		address_shown(argv[1], ret, addr);
	}
}

static void op_hostport(int argc, char **argv)
{
	struct tsocket_address *addr = NULL;
	TALLOC_CTX *mem_ctx;
	int ret;

	if (parent_get(argv[2], &mem_ctx)) {
		errno = 0;
		ret = tsocket_address_inet_from_hostport_strings(mem_ctx, meant(argv[3]), text_of(argv[4]),
								 atoi(argv[5]), &addr);
		address_shown(argv[1], ret, addr);
	}
}

/* unix_path A C PATH */
static void op_unixaddr(int argc, char **argv)
{
	struct tsocket_address *addr = NULL;
	TALLOC_CTX *mem_ctx;
	int ret;

	if (parent_get(argv[2], &mem_ctx)) {
		errno = 0;
		ret = tsocket_address_unix_from_path(mem_ctx, text_of(argv[3]), &addr);
		address_shown(argv[1], ret, addr);
	}
}

/* sockaddr A C inet IP PORT; ... inet6 IP PORT FLOW SCOPE; ... unix TEXT; ... abstract TEXT; ... unspec */
static void op_sockaddr(int argc, char **argv)
{
	struct sockaddr_storage storage = { .ss_family = AF_UNSPEC };
	struct sockaddr_in *inet = (struct sockaddr_in *)&storage;
	struct sockaddr_in6 *inet6 = (struct sockaddr_in6 *)&storage;
	struct sockaddr_un *local = (struct sockaddr_un *)&storage;
	socklen_t length = sizeof(struct sockaddr_in);
	struct tsocket_address *addr = NULL;
	TALLOC_CTX *mem_ctx;
	int ret;

	if (!parent_get(argv[2], &mem_ctx)) {
		return;
	}
	if (strcmp(argv[3], "inet") == 0) {
		inet->sin_family = AF_INET;
		inet->sin_port = htons(atoi(argv[5]));
		inet_pton(AF_INET, meant(argv[4]), &inet->sin_addr);
	} else if (strcmp(argv[3], "inet6") == 0) {
		inet6->sin6_family = AF_INET6;
		inet6->sin6_port = htons(atoi(argv[5]));
		inet6->sin6_flowinfo = htonl(atoi(argv[6]));
		inet6->sin6_scope_id = strtoul(argv[7], NULL, 10);
		inet_pton(AF_INET6, argv[4], &inet6->sin6_addr);
		length = sizeof(*inet6);
	} else if (strcmp(argv[3], "unix") == 0 || strcmp(argv[3], "abstract") == 0) {
		const char *text = meant(argv[4]);
		int skip_nul = argv[3][0] == 'a';

		local->sun_family = AF_UNIX;
		memcpy(local->sun_path + skip_nul, text, strnlen(text, sizeof(local->sun_path) - skip_nul));
		length = offsetof(struct sockaddr_un, sun_path) + strlen(text) + (skip_nul || text[0] != '\0');
	}
	errno = 0;
	ret = tsocket_address_bsd_from_sockaddr(mem_ctx, (struct sockaddr *)&storage, length, &addr);
	address_shown(argv[1], ret, addr);
}

static struct tsocket_address *address_get(const char *name)
{
	return object_get(name, "addr");
}

/* show A: everything about an address */
static void op_show(int argc, char **argv)
{
	struct tsocket_address *addr = address_get(argv[1]);
	struct sockaddr_storage storage = { .ss_family = 0 };
	struct sockaddr_in *inet = (struct sockaddr_in *)&storage;
	struct sockaddr_in6 *inet6 = (struct sockaddr_in6 *)&storage;
	struct sockaddr_un *local = (struct sockaddr_un *)&storage;
	char ip[INET6_ADDRSTRLEN] = "";
	bool chosen = from_kernel(argv[1]);
	char *text;
	int port;
	ssize_t n;

	if (addr == NULL) {
		return;
	}
	errno = 0;
	text = tsocket_address_string(addr, NULL);
	saw("%s %s e=%d name=%s", argv[1], text == NULL ? "nothing" : shown(text, chosen), text == NULL ? errno : 0,
	    talloc_get_name(addr));
	saw("is ip=%d ipv4=%d ipv6=%d unix=%d", tsocket_address_is_inet(addr, "ip"), tsocket_address_is_inet(addr, "IPv4"),
	    tsocket_address_is_inet(addr, "ipv6"), tsocket_address_is_unix(addr));
	errno = 0;
	text = tsocket_address_inet_addr_string(addr, NULL);
	saw("host %s e=%d", text == NULL ? "nothing" : shown(text, false), text == NULL ? errno : 0);
	errno = 0;
	port = tsocket_address_inet_port(addr);
	saw("port %d e=%d", chosen && port >= 32768 ? -1 : port, port == 0 ? errno : 0);
	errno = 0;
	text = tsocket_address_unix_path(addr, NULL);
	saw("path %s e=%d", text == NULL ? "nothing" : shown(text, false), text == NULL ? errno : 0);
	errno = 0;
	n = tsocket_address_bsd_sockaddr(addr, (struct sockaddr *)&storage, sizeof(storage));
	if (n == -1) {
		saw("sockaddr -1 e=%d", errno);
	} else if (storage.ss_family == AF_INET) {
		inet_ntop(AF_INET, &inet->sin_addr, ip, sizeof(ip));
		port = ntohs(inet->sin_port);
		saw("sockaddr %zd 2 %s %d", n, shown(ip, false), chosen && port >= 32768 ? -1 : port);
	} else if (storage.ss_family == AF_INET6) {
		inet_ntop(AF_INET6, &inet6->sin6_addr, ip, sizeof(ip));
		port = ntohs(inet6->sin6_port);
		saw("sockaddr %zd 10 %s %d %u %u", n, ip, chosen && port >= 32768 ? -1 : port,
		    ntohl(inet6->sin6_flowinfo), inet6->sin6_scope_id);
	} else {
		size_t length = n > 2 ? n - 2 : 0;
		/* An abstract name is all of its bytes; the structure of a path ends where its text does. */
		bool abstract = n > 2 && local->sun_path[0] == '\0';

		saw("sockaddr %zd %d %s%s", n, storage.ss_family, abstract ? "abstract " : "",
		    abstract ? bytes_shown((unsigned char *)local->sun_path, length)
			     : shown(n > 2 ? local->sun_path : "", false));
	}
}

/* isinet A TEXT */
static void op_isinet(int argc, char **argv)
{
	struct tsocket_address *addr = address_get(argv[1]);

	if (addr != NULL) {
		saw("isinet %d", tsocket_address_is_inet(addr, meant(argv[2])));
	}
}

/* copy A C FROM */
static void op_copy(int argc, char **argv)
{
	struct tsocket_address *addr = address_get(argv[3]), *copy;
	bool chosen = from_kernel(argv[3]);
	TALLOC_CTX *mem_ctx;

	if (addr == NULL || !parent_get(argv[2], &mem_ctx)) {
		return;
	}
	errno = 0;
	copy = tsocket_address_copy(addr, mem_ctx);
	saw("copy %s e=%d", copy == NULL ? "nothing" : "made", copy == NULL ? errno : 0);
	address_add(argv[1], copy, chosen);
}

/* setport A PORT */
static void op_setport(int argc, char **argv)
{
	struct tsocket_address *addr = address_get(argv[1]);
	int ret;

	if (addr != NULL) {
		errno = 0;
		ret = tsocket_address_inet_set_port(addr, atoi(argv[2]));
		saw("setport %d e=%d", ret, ret == 0 ? 0 : errno);
		if (ret == 0) {
			object_find(argv[1])->more = NULL;
		}
	}
}
