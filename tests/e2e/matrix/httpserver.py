# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""An HTTP/1.1 server for tests: it records every request, and hands its socket to those who
want to break the conversation at a chosen byte.

Subclass Exchange, and give answer(). A server listens on a free port from its making on, and
ends with close() or with the process.
"""
import fcntl
import http.server
import os
import select
import socket
import socketserver
import struct
import sys
import termios
import threading
import time
import urllib.parse

PIECE = 1 << 18


class Gone(Exception):
    """The conversation has ended; nothing more is to be sent."""


class Request:
    """What came, and what went back. `received` and `sent` count bytes of bodies."""

    def __init__(self, method, target, headers):
        self.method, self.target, self.headers = method, target, headers
        parts = urllib.parse.urlsplit(target)
        self.path = urllib.parse.unquote(parts.path)
        self.query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        self.time = time.monotonic()
        self.received = self.sent = 0
        self.status = None

    def __repr__(self):
        return f"{self.method} {self.target} -> {self.status} ({self.received} in, {self.sent} out)"


class Exchange(http.server.BaseHTTPRequestHandler):
    """One connection; answer() is called for each request on it."""
    protocol_version = "HTTP/1.1"
    wbufsize = 0
    disable_nagle_algorithm = True
    timeout = 300

    def answer(self):
        raise NotImplementedError

    def _serve(self):
        self.request_seen = Request(self.command, self.path, self.headers)
        self.left = None  # bytes of the request's body that were not read; None: see the headers
        self.server.record(self.request_seen)
        try:
            self.answer()
            self.drain()
        except Gone:
            self.close_connection = True
        except (BrokenPipeError, ConnectionError, TimeoutError, ValueError):
            self.close_connection = True  # the client left, or its socket is closed already

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = do_CONNECT = _serve

    # --- the request's body -----------------------------------------------------

    def body_pieces(self):
        """The body as it comes, of either framing."""
        seen = self.request_seen
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            if self.left == 0:
                return
            while True:
                size = int(self.rfile.readline().split(b";")[0] or b"0", 16)
                if size == 0:
                    while self.rfile.readline().strip():
                        pass
                    self.left = 0
                    return
                yield from self._counted(size, seen)
                self.rfile.readline()
        if self.left is None:
            self.left = int(self.headers.get("Content-Length") or 0)
        while self.left:
            for piece in self._counted(min(self.left, PIECE), seen):
                self.left -= len(piece)
                yield piece

    def _counted(self, size, seen):
        while size:
            piece = self.rfile.read1(size)
            if not piece:
                raise Gone("the body ended early")
            size -= len(piece)
            seen.received += len(piece)
            yield piece

    def body(self):
        return b"".join(self.body_pieces())

    def drain(self):
        for _ in self.body_pieces():
            pass

    def read_some(self, count):
        """At least `count` bytes of the body, or all of it."""
        for _ in self.body_pieces():
            if self.request_seen.received >= count:
                return

    # --- the answer ---------------------------------------------------------------

    def reply(self, status, body=b"", headers=(), length=None):
        """Sends an answer. A HEAD gets the length and no body."""
        self.drain()
        self.head(status, [("Content-Length", str(len(body) if length is None else length)), *dict(headers).items()])
        if self.command != "HEAD":
            self.send(body)

    def head(self, status, headers):
        self.request_seen.status = status
        reason = http.server.BaseHTTPRequestHandler.responses.get(status, ("Status",))[0]
        lines = [f"HTTP/1.1 {status} {reason}", *(f"{k}: {v}" for k, v in headers if v is not None)]
        self.wfile.write("\r\n".join(lines + ["", ""]).encode("latin-1"))

    def send(self, data):
        view = memoryview(data)
        for at in range(0, len(view), PIECE):
            piece = view[at:at + PIECE]
            self.connection.sendall(piece)
            self.request_seen.sent += len(piece)

    # --- breaking it ----------------------------------------------------------------

    def reset(self):
        """Ends the connection with RST: what was sent and not yet read is lost."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.hang_up()

    def hang_up(self):
        """Ends the connection where it stands."""
        self.close_connection = True
        number = self.connection.detach()
        if number >= 0:
            os.close(number)
        raise Gone("ended by the server")

    def wait_until_taken(self, seconds=60):
        """Until the client's kernel has all that was sent: RST takes along what is still on its way."""
        end, left = time.monotonic() + seconds, b"1"
        while any(left) and time.monotonic() < end:
            time.sleep(0.002)
            left = fcntl.ioctl(self.connection.fileno(), termios.TIOCOUTQ, bytes(4))

    def stay_silent(self, seconds=900):
        """Says nothing until the client leaves, the server ends or the time is over."""
        end = time.monotonic() + seconds
        watch = select.poll()
        watch.register(self.connection, select.POLLRDHUP)
        while time.monotonic() < end and not self.server.ended.is_set():
            if watch.poll(50):
                break
        self.hang_up()

    def finish(self):
        try:
            super().finish()
        except (OSError, ValueError):
            pass

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Listens on `host`; with `tls` (an ssl.SSLContext) it speaks HTTPS."""
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, exchange, host="127.0.0.1", tls=None, name=None):
        self.requests, self.lock = [], threading.RLock()
        self.ended, self.tls = threading.Event(), tls
        self.connections = 0
        self.broken_accepts = 0  # so many connections end by RST before anything is read
        self.errors = []
        super().__init__((host, 0), exchange)
        # What a stalled reader does not take must not all fit between the two.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 << 10)
        self.host = f"{name or host}:{self.server_address[1]}"
        self.url = ("https://" if tls else "http://") + self.host
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def finish_request(self, request, client_address):
        with self.lock:
            self.connections += 1
            self.broken_accepts -= 1
            broken = self.broken_accepts >= 0
        if broken:
            request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(request.detach())
            return
        if self.tls:  # on the connection's own thread: a handshake may take its time
            request.settimeout(60)
            try:
                request = self.tls.wrap_socket(request, server_side=True)
            except OSError:
                return
        super().finish_request(request, client_address)
        request.close()

    def handle_error(self, request, client_address):
        kind = sys.exc_info()[0]
        if not issubclass(kind, (OSError, ValueError, Gone)):
            self.errors.append(sys.exc_info()[1])
            super().handle_error(request, client_address)

    def record(self, request):
        with self.lock:
            self.requests.append(request)

    def seen(self, method=None, path=""):
        """The requests of that method (any of several) whose path holds `path`."""
        methods = method.split() if method else None
        with self.lock:
            return [r for r in self.requests if (not methods or r.method in methods) and path in r.path]

    def forget(self):
        with self.lock:
            self.requests.clear()

    def close(self):
        self.ended.set()
        self.shutdown()
        self.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
