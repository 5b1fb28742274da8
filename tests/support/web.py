"""A web server of a folder that gives parts of files, and breaks in the ways that real ones do."""

import contextlib
import threading
from collections import Counter
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked[self.path] += 1
        if self.path in self.server.forbidden:
            self.send_error(HTTPStatus.FORBIDDEN)
            return
        path = self.translate_path(self.path)
        try:
            with open(path, "rb") as file:
                content = file.read()
        except OSError:
            super().do_GET()
            return
        self._give(content)

    def do_HEAD(self):
        if self.path not in self.server.unsized:
            super().do_HEAD()
            return
        self.send_response(HTTPStatus.OK)
        self.end_headers()

    def _give(self, content):
        whole = len(content)
        wanted = self.headers.get("Range")
        if wanted and self.server.ranges:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last or whole), whole - 1)
            content = content[start : end + 1]
            self.send_response(HTTPStatus.PARTIAL_CONTENT)
            self.send_header("Content-Range", f"bytes {start}-{end}/{whole}")
        else:
            self.send_response(HTTPStatus.OK)
        if self.path in self.server.unsized:
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        breaks = self.server.breaks.get(self.path, 0)
        if breaks:
            self.server.breaks[self.path] = breaks - 1
            content = content[: len(content) // 2]
            self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.write(content)

    def log_message(self, *_):
        pass


class WebServer(ThreadingHTTPServer):
    """Serves `folder` on a free port of this machine.

    breaks: path → how many of the next answers end in the middle. forbidden: paths that are.
    unsized: paths of which nothing but the content is told. ranges: whether parts of a file are
    given. asked: how often each path was asked for.
    """

    daemon_threads = True

    def __init__(self, folder, ranges=True):
        super().__init__(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
        self.ranges, self.breaks, self.asked = ranges, {}, Counter()
        self.forbidden, self.unsized = set(), set()
        self.url = f"http://127.0.0.1:{self.server_port}"


@contextlib.contextmanager
def serving(folder, ranges=True):
    with WebServer(folder, ranges) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
