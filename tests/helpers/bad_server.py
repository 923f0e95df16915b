"""A server that fails in every way."""

import hashlib
import threading
import time
from collections import Counter
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CONTENT = bytes(range(256)) * 9000  # 2.3 MB: three blocks
SIZE, CUT = len(CONTENT), 1_500_000
SHA = hashlib.sha256(CONTENT).hexdigest()
ETC = Path("/etc/hostname")


class Server(BaseHTTPRequestHandler):
    """Answers by the path's name: `/cut` is `do_cut`, and so on; keeps a log of (path, range)."""

    def __init__(self, log, *args):
        self.log = log
        super().__init__(*args)

    def do_GET(self):
        first = int((self.headers["Range"] or "bytes=0-")[6:-1])
        self.log.append((self.path, first))
        again = Counter(path for path, _ in self.log)[self.path] - 1
        getattr(self, f"do_{self.path[1:]}")(first, again)

    def answer(self, body, first=0, length=None, status=None, start=None, attachment=None):
        self.send_response(status or (206 if first else 200))
        if attachment:
            self.send_header("Content-Type", "application/zip")
            self.send_header("Content-Disposition", f'attachment; filename="{attachment}"')
        if first:
            start = first if start is None else start
            self.send_header("Content-Range", f"bytes {start}-{SIZE - 1}/{SIZE}")
        if length is not False:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def do_good(self, first, again):
        self.answer(CONTENT[first:], first)

    def do_no_ranges(self, first, again):
        self.answer(CONTENT)

    def do_cut(self, first, again):
        self.answer(CONTENT[first : first + CUT], first, length=SIZE - first)

    def do_cut_without_ranges(self, first, again):
        self.answer(CONTENT[:CUT] if not again else CONTENT, length=SIZE)

    def do_always_cut(self, first, again):
        self.answer(b"", first, length=SIZE - first)

    def do_wrong_bytes(self, first, again):
        self.answer(CONTENT[::-1])

    def do_short(self, first, again):  # and says so
        self.answer(CONTENT[:CUT])

    def do_long(self, first, again):
        self.answer(CONTENT + b"more")

    def do_endless(self, first, again):
        self.answer(b"", length=False)
        for _ in range(100):
            self.wfile.write(CONTENT)

    def do_page(self, first, again):
        self.answer(b"<html>Please log in</html>")

    def do_no(self, first, again):
        self.send_error(404)

    def do_forbidden(self, first, again):
        self.send_error(403)

    def do_busy_once(self, first, again):
        self.do_good(first, again) if again else self.send_error(503)

    def do_busy(self, first, again):
        self.send_error(503)

    def do_slow(self, first, again):
        self.answer(b"", length=SIZE)
        for start in range(0, SIZE, 300_000):
            self.wfile.write(CONTENT[start : start + 300_000])
            time.sleep(0.02)

    def do_stalls_once(self, first, again):
        self.answer(CONTENT[first : first + (SIZE if again else CUT)], first, length=SIZE - first)
        if not again:
            time.sleep(0.6)

    def do_other_byte(self, first, again):  # once; then it has the right one
        self.answer(CONTENT[first:], first, start=first + 7 * (again == 1))

    def do_no_such_range(self, first, again):
        self.send_error(416) if first else self.answer(CONTENT)

    def do_chunked_cut(self, first, again):
        self.protocol_version = "HTTP/1.1"
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%s\r\n" % (CUT, CONTENT[:CUT]))
        if again:
            self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (SIZE - CUT, CONTENT[CUT:]))

    def do_hangs_up(self, first, again):
        self.close_connection = True

    def do_nonsense(self, first, again):
        self.wfile.write(b"not http at all\r\n\r\n")

    def do_bad_length(self, first, again):
        self.answer(CONTENT, length="many")

    def redirect(self, place):
        self.send_response(302)
        self.send_header("Location", place)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_moved(self, first, again):
        self.redirect("/good")

    def do_moved_cut(self, first, again):
        self.redirect("/cut")

    def do_drive(self, first, again):  # as Google Drive sends a file
        self.answer(CONTENT[first:], first, attachment="file.zip")

    def do_drive_cut_once(self, first, again):
        if again:
            self.do_drive(first, again)
        else:
            self.answer(CONTENT[:CUT], length=SIZE, attachment="file.zip")

    def do_drive_quota(self, first, again):
        page = b'<p class="uc-error-subcaption">Too many users have viewed it</p>'
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(page)

    def do_loop(self, first, again):
        self.redirect("/loop")

    def do_to_a_file(self, first, again):
        self.redirect(ETC.as_uri())

    def log_message(self, *args):
        pass


@contextmanager
def serve():
    """The server's address, and a log of the (path, first byte) that it is asked for."""
    log = []
    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, log))
    http.daemon_threads = True
    http.handle_error = lambda *args: None  # the client may hang up
    threading.Thread(target=http.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{http.server_port}", log
    finally:
        http.shutdown()
        http.server_close()
