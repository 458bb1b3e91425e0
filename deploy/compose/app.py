"""A sample app: says which version it is and which feature flags are on for whoever asks."""

import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = os.environ.get("VERSION", "v1")


class App(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        flags = sorted(name for name, value in self.headers.items() if name.startswith("x-feature-") and value == "true")
        status, text = 200, f"{VERSION}, flags: {', '.join(flags) or 'none'}\n"
        # `VERSION=v2 FAIL=1` is a release to be rolled back.
        if os.environ.get("FAIL") and self.path != "/up":
            status, text = 500, f"{VERSION} fails\n"
        body = text.encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Serin has the access log."""


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ThreadingHTTPServer(("0.0.0.0", int(os.environ.get("PORT", "3000"))), App).serve_forever()
