#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Talk to a Samba named-pipe-auth (NPA) unix socket with nothing but the standard library.

A reference that shares no code with the product: it connects to DIR/.../np/PIPE, sends a
named_pipe_auth request, binds one DCERPC interface over the message-mode stream and prints
every packet as hex.  It is also importable (npa_request, npa_exchange, dcerpc_bind, ...).

    npa_probe.py SOCKET [--iface NAME|UUID:VERSION] [--level 7] [--transport np|lrpc]
                 [--sids anon|user|system|S-1-..,S-1-..] [--no-session] [--call OPNUM[:HEX]]
    npa_probe.py SOCKET --serve [--count N]
        the other side: a pipe server that a real smbd connects to; it answers every bind and
        returns the stub data of every request reversed

Never send --no-session to a Samba that is still needed: samba-dcerpcd dies of it (see README.md).
"""
import argparse
import os
import socket
import struct
import sys
import uuid

NCACN_NP, NCACN_IP_TCP, NCALRPC = 1, 2, 8
MAGIC = b"NPAM"
NDR32 = ("8a885d04-1ceb-11c9-9fe8-08002b104860", 2)
IFACES = {
    "srvsvc": ("4b324fc8-1670-01d3-1278-5a47bf6ee188", 3),
    "wkssvc": ("6bffd098-a112-3610-9833-46c3f87e345a", 1),
    "lsarpc": ("12345778-1234-abcd-ef00-0123456789ab", 0),
    "samr": ("12345778-1234-abcd-ef00-0123456789ac", 1),
    "netlogon": ("12345678-1234-abcd-ef00-01234567cffb", 1),
    "winreg": ("338cd001-2244-31f1-aaaa-900038001003", 1),
    "svcctl": ("367abb81-9844-35f1-ad32-98f038001003", 2),
    "epmapper": ("e1af8308-5d1f-11c9-91a4-08002b14a0fa", 3),
    "mgmt": ("afa8bd80-7d8a-11c9-bef4-08002b102989", 1),
}
SIDSETS = {
    "anon": ["S-1-5-7", "S-1-1-0", "S-1-5-2"],
    "user": ["S-1-5-21-1-2-3-1000", "S-1-1-0", "S-1-5-2", "S-1-5-11"],
    "system": ["S-1-5-18"],
    "empty": [],
}


class Ndr:
    """Little-endian NDR20; `base` bytes already stand before this buffer (alignment)."""

    def __init__(self, base=0):
        self.b = bytearray()
        self.base = base
        self.ref = 0x20000

    def align(self, n):
        while (self.base + len(self.b)) % n:
            self.b.append(0)

    def u8(self, v):
        self.b += struct.pack("<B", v)

    def u16(self, v):
        self.align(2)
        self.b += struct.pack("<H", v)

    def u32(self, v):
        self.align(4)
        self.b += struct.pack("<I", v)

    def u64(self, v):
        self.align(8)
        self.b += struct.pack("<Q", v)

    def nttime(self, v):        # NTTIME is aligned to 4, a plain hyper to 8
        self.align(4)
        self.b += struct.pack("<Q", v)

    def ptr(self, present):
        self.align(4)
        self.u32(self.ref if present else 0)
        if present:
            self.ref += 4

    def string(self, s):
        raw = s.encode() + b"\0"
        self.u32(len(raw))
        self.u32(0)
        self.u32(len(raw))
        self.b += raw

    def sid(self, s):
        p = s.split("-")
        subs = [int(x) for x in p[3:]]
        self.align(4)
        self.b += struct.pack(">BBHI", int(p[1]), len(subs), int(p[2]) >> 32, int(p[2]) & 0xFFFFFFFF)
        self.b += b"".join(struct.pack("<I", x) for x in subs)


INFO_STRINGS1 = ("account_name", "user_principal_name")
INFO_STRINGS2 = ("domain_name", "dns_domain_name", "full_name", "logon_script", "profile_path",
                 "home_directory", "home_drive", "logon_server")
NEVER = 0x7FFFFFFFFFFFFFFF


def npa_request(level=7, transport=NCACN_NP, client=("peer", "127.0.0.1", 12345),
                server=("peersrv", "127.0.0.1", 445), sids=("S-1-5-7",), privileges=0, rights=0,
                unix=(65534, 65534, ()), info=None, unix_info=("nobody", "nobody"),
                session_key=b"\0" * 16, session_info=True, token_guid=bytes(16)):
    """The whole request, 4-byte big-endian length included.  unix/info/unix_info may be None."""
    n = Ndr()
    n.b += b"\0\0\0\0" + MAGIC
    n.u32(level)
    n.u32(level)
    n.u32(transport)            # a uint8, padded by the pointer that follows
    n.ptr(True)
    n.ptr(True)
    n.u16(client[2])
    n.ptr(True)
    n.ptr(True)
    n.u16(server[2])
    n.ptr(session_info)
    n.string(client[0])
    n.string(client[1])
    n.string(server[0])
    n.string(server[1])
    if session_info:
        n.ptr(True)             # auth_session_info
        n.u32(0)                # exported_gssapi_credentials: empty DATA_BLOB
        n.ptr(True)             # security_token
        n.ptr(unix is not None)
        n.ptr(info is not None)
        n.ptr(unix_info is not None)
        n.u32(0)                # torture
        n.u32(len(session_key))
        n.b += session_key
        n.u32(0)                # credentials
        n.align(4)
        n.b += token_guid
        n.u32(0)                # ticket_type
        n.u32(len(sids))
        n.u32(len(sids))
        for s in sids:
            n.sid(s)
        n.u64(privileges)
        n.u32(rights)
        if unix is not None:
            n.u32(len(unix[2]))
            n.u64(unix[0])
            n.u64(unix[1])
            n.u32(len(unix[2]))
            for g in unix[2]:
                n.u64(g)
        if info is not None:
            for k in INFO_STRINGS1:
                n.ptr(info.get(k) is not None)
            n.u8(info.get("user_principal_constructed", 0))
            for k in INFO_STRINGS2:
                n.ptr(info.get(k) is not None)
            for k in ("last_logon", "last_logoff", "acct_expiry", "last_password_change",
                      "allow_password_change", "force_password_change"):
                n.nttime(info.get(k, 0))
            n.u16(info.get("logon_count", 0))
            n.u16(info.get("bad_password_count", 0))
            n.u32(info.get("acct_flags", 0x10))
            n.u8(info.get("authenticated", 1))
            for k in INFO_STRINGS1 + INFO_STRINGS2:
                if info.get(k) is not None:
                    n.string(info[k])
        if unix_info is not None:
            n.ptr(unix_info[0] is not None)
            n.ptr(unix_info[1] is not None)
            for s in unix_info:
                if s is not None:
                    n.string(s)
    n.b[0:4] = struct.pack(">I", len(n.b) - 4)
    return bytes(n.b)


def parse_npa_reply(b):
    """(level, file_type, device_state, allocation_size, ntstatus); the info is None at level 0."""
    if b[4:8] != MAGIC:
        raise ValueError("bad magic %r" % b[4:8])
    level, = struct.unpack_from("<I", b, 8)
    if len(b) < 36:
        status, = struct.unpack_from("<I", b, len(b) - 4)
        return level, None, None, None, status
    ft, ds, alloc, status = struct.unpack_from("<HHxxxxQI", b, 16)
    return level, ft, ds, alloc, status


def recv_exact(s, n):
    out = b""
    while len(out) < n:
        c = s.recv(n - len(out))
        if not c:
            raise EOFError("peer closed after %d of %d bytes" % (len(out), n))
        out += c
    return out


def npa_exchange(s, req):
    s.sendall(req)
    n, = struct.unpack(">I", hdr := recv_exact(s, 4))
    return hdr + recv_exact(s, n)


def msg_send(s, pdu):
    s.sendall(struct.pack("<H", len(pdu)) + pdu)


def msg_recv(s):
    n, = struct.unpack("<H", recv_exact(s, 2))
    return recv_exact(s, n)


def dcerpc_bind(iface, call_id=1, assoc=0, frag=4280):
    name, ver = IFACES.get(iface, iface) if isinstance(iface, str) else iface
    body = struct.pack("<HHIBxxxHBx", frag, frag, assoc, 1, 0, 1)
    body += uuid.UUID(name).bytes_le + struct.pack("<I", ver)
    body += uuid.UUID(NDR32[0]).bytes_le + struct.pack("<I", NDR32[1])
    return struct.pack("<BBBB4sHHI", 5, 0, 11, 3, b"\x10\0\0\0", 16 + len(body), 0, call_id) + body


def dcerpc_request(opnum, stub, call_id=2):
    body = struct.pack("<IHH", len(stub), 0, opnum) + stub
    return struct.pack("<BBBB4sHHI", 5, 0, 0, 3, b"\x10\0\0\0", 16 + len(body), 0, call_id) + body


def describe(pdu):
    names = {0: "request", 2: "response", 3: "fault", 11: "bind", 12: "bind_ack", 13: "bind_nak"}
    t = names.get(pdu[2], str(pdu[2]))
    if pdu[2] == 12:
        xmit, recv, assoc, n = struct.unpack_from("<HHIH", pdu, 16)
        port = pdu[26:26 + n].rstrip(b"\0").decode()
        o = (26 + n + 3) & ~3
        result, reason = struct.unpack_from("<HH", pdu, o + 4)
        return f"{t} xmit={xmit} recv={recv} assoc={assoc:#x} port={port!r} result={result} reason={reason}"
    if pdu[2] == 3:
        return t + " status=%#x" % struct.unpack_from("<I", pdu, 24)
    return f"{t} frag_length={struct.unpack_from('<H', pdu, 8)[0]}"


def bind_ack(bind, port):
    """Accepts the first presentation context, refuses the others, as a server without other interfaces."""
    call_id, = struct.unpack_from("<I", bind, 12)
    xmit, recv, assoc, nctx = struct.unpack_from("<HHIB", bind, 16)
    sec = port.encode() + b"\0"
    body = struct.pack("<HHIH", recv, xmit, assoc or 0x1234, len(sec)) + sec
    body += b"\0" * (-(16 + len(body)) % 4) + struct.pack("<Bxxx", nctx)
    for i in range(nctx):
        body += struct.pack("<HH", *((0, 0) if i == 0 else (2, 1)))
        body += uuid.UUID(NDR32[0]).bytes_le + struct.pack("<I", 2) if i == 0 else b"\0" * 20
    return struct.pack("<BBBB4sHHI", 5, 0, 12, 3, b"\x10\0\0\0", 16 + len(body), 0, call_id) + body


def serve_one(s, port, level=7):
    req = npa_take(s)
    got, = struct.unpack_from("<I", req, 8)
    print(f"accepted npa request of {len(req)} bytes, level {got}, transport {req[16]}", flush=True)
    s.sendall(struct.pack(">I", 32) + struct.pack("<4sIIHHxxxxQI", MAGIC, level, level, 2, 0x5FF, 4096, 0))
    while True:
        m = msg_recv(s)
        print("got  ", m.hex(), flush=True)
        call_id, = struct.unpack_from("<I", m, 12)
        if m[2] == 11:
            out = bind_ack(m, port)
        elif m[2] == 0:
            stub = m[24:][::-1]
            out = struct.pack("<BBBB4sHHIIHBx", 5, 0, 2, 3, b"\x10\0\0\0", 24 + len(stub), 0, call_id, len(stub), 0, 0) + stub
        else:
            raise EOFError("unexpected packet type %d" % m[2])
        msg_send(s, out)


def npa_take(s):
    hdr = recv_exact(s, 4)
    return hdr + recv_exact(s, struct.unpack(">I", hdr)[0])


def serve(path, count):
    if os.path.exists(path):
        os.unlink(path)
    ls = socket.socket(socket.AF_UNIX)
    ls.bind(path)
    ls.listen(5)
    print("ready", flush=True)
    while count != 0:
        count -= 1
        s, _ = ls.accept()
        s.settimeout(30)
        try:
            serve_one(s, "\\pipe\\" + os.path.basename(path))
        except (OSError, EOFError) as e:
            print("end:", e, flush=True)
        s.close()
    os.unlink(path)
    return 0


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("socket")
    ap.add_argument("--iface", default=None)
    ap.add_argument("--level", type=int, default=7)
    ap.add_argument("--transport", default="np", choices=["np", "lrpc"])
    ap.add_argument("--sids", default="user")
    ap.add_argument("--no-session", action="store_true")
    ap.add_argument("--no-unix", action="store_true")
    ap.add_argument("--uid", type=int, default=65534)
    ap.add_argument("--call", action="append", default=[])
    ap.add_argument("--serve", action="store_true")
    ap.add_argument("--count", type=int, default=-1)
    a = ap.parse_args()
    if a.serve:
        return serve(a.socket, a.count)
    name = a.iface or a.socket.rsplit("/", 1)[1]
    iface = (name.split(":")[0], int(name.split(":")[1])) if ":" in name else name
    sids = SIDSETS.get(a.sids, a.sids.split(","))
    req = npa_request(level=a.level, transport=NCALRPC if a.transport == "lrpc" else NCACN_NP, sids=sids,
                      session_info=not a.no_session, unix=None if a.no_unix else (a.uid, a.uid, (a.uid,)),
                      unix_info=None if a.no_unix else ("nobody", "nobody"),
                      info={"account_name": "peeruser", "domain_name": "PEERSRV", "logon_server": "PEERSRV"})
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)
    s.connect(a.socket)
    print("npa request ", req.hex())
    rep = npa_exchange(s, req)
    print("npa reply   ", rep.hex())
    level, ft, ds, alloc, status = parse_npa_reply(rep)
    print(f"  level={level} file_type={ft} device_state={ds and hex(ds)} allocation_size={alloc} status={status:#x}")
    if status:
        return 1
    pdu = dcerpc_bind(iface)
    print("bind        ", pdu.hex())
    msg_send(s, pdu)
    ack = msg_recv(s)
    print("bind reply  ", ack.hex(), "\n  " + describe(ack))
    for i, c in enumerate(a.call):
        op, _, hx = c.partition(":")
        pdu = dcerpc_request(int(op), bytes.fromhex(hx), 2 + i)
        print("request     ", pdu.hex())
        msg_send(s, pdu)
        r = msg_recv(s)
        print("response    ", r.hex(), "\n  " + describe(r))
    return 0 if ack[2] == 12 else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, EOFError) as e:
        print("npa_probe:", e, file=sys.stderr)
        sys.exit(2)
