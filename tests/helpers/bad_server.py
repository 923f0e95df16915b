"""A server that fails in many ways."""

import hashlib
import threading
import time
from collections import Counter
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CONTENT = bytes(range(256)) * 9000  # 2.3 MB
SIZE, CUT = len(CONTENT), 1 << 20  # gdown writes blocks of half a MiB
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

    def answer(self, body, first=0, whole=SIZE, attachment=None, length=True):
        """Send `body`, of a file of `whole` bytes of which those before `first` are known."""
        self.send_response(206 if first else 200)
        if attachment:
            self.send_header("Content-Type", "application/zip")
            self.send_header("Content-Disposition", f'attachment; filename="{attachment}"')
        if first:
            self.send_header("Content-Range", f"bytes {first}-{whole - 1}/{whole}")
        if length:
            self.send_header("Content-Length", str(whole - first))
        self.end_headers()
        self.wfile.write(body)

    def do_good(self, first, again):
        self.answer(CONTENT[first:], first)

    def do_cut(self, first, again):
        self.answer(CONTENT[first : first + CUT], first)

    def do_cut_without_ranges(self, first, again):
        self.answer(CONTENT[:CUT])

    def do_always_cut(self, first, again):
        self.answer(b"", first)

    def do_wrong_bytes(self, first, again):
        self.answer(CONTENT[::-1])

    def do_page(self, first, again):
        self.answer(b"<html>Please log in</html>", whole=26)

    def do_without_length(self, first, again):
        self.answer(CONTENT[:CUT], length=False)

    def do_no(self, first, again):
        self.send_error(404)

    def do_busy(self, first, again):
        self.send_error(503)

    def do_stalls_once(self, first, again):
        self.answer(CONTENT[first : first + (SIZE if again else CUT)], first)
        if not again:
            time.sleep(0.6)

    def do_hangs_up(self, first, again):
        self.close_connection = True

    def do_nonsense(self, first, again):
        self.wfile.write(b"not http at all\r\n\r\n")

    def redirect(self, place):
        self.send_response(302)
        self.send_header("Location", place)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_moved(self, first, again):
        self.redirect("/good")

    def do_loop(self, first, again):
        self.redirect("/loop")

    def do_to_a_file(self, first, again):
        self.redirect(ETC.as_uri())

    def do_drive(self, first, again):  # as Google Drive sends a file
        self.answer(CONTENT[first:], first, attachment="file.zip")

    def do_drive_cut_once(self, first, again):
        body = CONTENT[first:] if again else CONTENT[:CUT]
        self.answer(body, first, attachment="file.zip")

    def do_drive_quota(self, first, again):
        page = b'<p class="uc-error-subcaption">Too many users have viewed it</p>'
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(page)

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
