"""A shop behind Serin, on Python's standard library: reads flags and the track from request headers.

PORT=3000 VERSION=v1 python3 app.py
"""

import os
import random
import signal
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = os.environ.get("VERSION", "v1")
# A release that goes wrong: FAIL_RATE=0.05 answers 500 to one page in twenty.
FAIL_RATE = float(os.environ.get("FAIL_RATE", "0"))


def variant(headers, name, default):
    """The value of a flag; the default where Serin says nothing of it."""
    return headers.get(f"x-feature-{name}", default)


def is_on(headers, name, default=False):
    """Whether a flag is on. Whatever is neither `true` nor `false` is the default."""
    return {"true": True, "false": False}.get(variant(headers, name, ""), default)


class Shop(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        path = self.path.split("?")[0]
        if path == "/healthz":
            self.answer(200, "ok\n")
        elif path == "/version":
            self.answer(200, f"{VERSION}\n")
        elif path not in ("/", "/search"):
            self.answer(404, "no such page\n")
        elif random.random() < FAIL_RATE:
            print(f"request {self.headers.get('x-request-id', '-')} fails", file=sys.stderr, flush=True)
            self.answer(500, f"{VERSION} fails\n")
        elif path == "/":
            self.home()
        else:
            self.search()

    do_HEAD = do_GET

    def home(self):
        dashboard = "new" if is_on(self.headers, "new-dashboard") else "old"
        color = variant(self.headers, "color", "black")
        self.answer(200, f"The {dashboard} dashboard in {color}, {self.served_by()}\n")

    def search(self):
        # The new search does not work yet: its page has status 200 and is an error all the same.
        if is_on(self.headers, "new-search"):
            self.answer(200, "Sorry, we found nothing.\n", {"x-serin-outcome": "error"})
        else:
            self.answer(200, f"3 results, {self.served_by()}\n")

    def served_by(self):
        # Without Serin in front there is no such header.
        return f"{VERSION} on {self.headers.get('x-serin-track', 'no track')}"

    def answer(self, status, text, fields=None):
        body = text.encode()
        self.send_response(status)
        self.send_header("content-type", "text/plain; charset=utf-8")
        self.send_header("content-length", str(len(body)))
        # The page depends on who asks: shared caches must not keep it.
        self.send_header("cache-control", "private, no-store")
        for name, value in (fields or {}).items():
            self.send_header(name, value)
        if self.server.draining:
            self.send_header("connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        """Serin has the access log."""


class Server(ThreadingHTTPServer):
    """Ends in peace: what is under way is answered, idle connections are closed."""

    daemon_threads = False
    request_queue_size = 128
    draining = False

    def __init__(self, address, handler):
        self.connections = set()
        super().__init__(address, handler)

    def process_request(self, request, client_address):
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        self.connections.discard(request)
        super().shutdown_request(request)

    def drain(self, *_):
        self.draining = True
        # Not on this thread: shutdown() waits for serve_forever(), which this thread runs.
        threading.Thread(target=self.shutdown).start()

    def server_close(self):
        for connection in list(self.connections):
            try:
                connection.shutdown(socket.SHUT_RD)
            except OSError:
                pass  # It is closed already.
        super().server_close()


if __name__ == "__main__":
    with Server((os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "3000"))), Shop) as server:
        signal.signal(signal.SIGTERM, server.drain)
        signal.signal(signal.SIGINT, server.drain)
        server.serve_forever()
