# A key server that does to its clients what key servers do at their worst, and remembers who asked for what.
# Every path answers what a test laid there; any other is 404. With two files, a certificate and its key, it speaks TLS.

import collections
import itertools
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from lines import serve

DEADLINE = 30

lock = threading.Condition()
pages = {}
seen = collections.defaultdict(list)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        path = self.path.split("?")[0]
        body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode("utf-8", "replace")
        with lock:
            seen[path].append({"method": self.command, "target": self.path, "headers": dict(self.headers), "body": body})
            lock.notify_all()
            page = pages.get(path) or {"status": 404}
            # Looked up anew: what is released is answered with what lies there then.
            while page.get("held"):
                lock.wait()
                page = pages[path]
        self.close_connection = True
        try:
            FAULTS[page.get("fault")](self, page)
            self.wfile.flush()
        except OSError:
            pass

    do_GET = do_POST = do_HEAD = answer

    def head(self, page, **more):
        self.send_response(page.get("status", 200))
        for name, value in {"content-type": "application/json", "connection": "close", **page.get("headers", {}), **more}.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.flush()

    def log_message(self, *_):
        pass


def whole(handler, page):
    body = page.get("body", "").encode()
    handler.head(page, **{"content-length": str(len(body))})
    handler.wfile.write(body)


def short(handler, page):
    """Promises more than comes."""
    body = page.get("body", "").encode()
    handler.head(page, **{"content-length": str(len(body) + 1)})
    handler.wfile.write(body)


def huge(handler, page):
    """Promises two gigabytes and begins to send them."""
    size = 2 << 30
    handler.head(page, **{"content-length": str(size)})
    handler.wfile.write(b'{"keys":[')
    for _ in range(size >> 16):
        handler.wfile.write(b" " * (1 << 16))


def endless(handler, page):
    handler.head(page, **{"transfer-encoding": "chunked"})
    handler.wfile.write(b'9\r\n{"keys":[\r\n')
    for _ in itertools.count():
        handler.wfile.write(b"10000\r\n" + b" " * (1 << 16) + b"\r\n")


def slow(handler, page):
    """A byte a second."""
    body = page.get("body", "").encode()
    handler.head(page, **{"content-length": str(len(body))})
    for byte in body:
        handler.wfile.write(bytes([byte]))
        handler.wfile.flush()
        threading.Event().wait(1)


def slow_head(handler, _):
    for byte in itertools.chain(b"HTTP/1.1 200 OK\r\n", itertools.cycle(b"X-Pad: 1\r\n")):
        handler.wfile.write(bytes([byte]))
        handler.wfile.flush()
        threading.Event().wait(1)


def hang(_handler, _page):
    threading.Event().wait()


def close(_handler, _page):
    pass


def garbage(handler, _):
    handler.wfile.write(b"\x16\x03\x01\x00\x05hello\r\n\r\n")


FAULTS = {None: whole, "short": short, "huge": huge, "endless": endless, "slow": slow, "slow_head": slow_head, "hang": hang, "close": close, "garbage": garbage}


def lay(path, **page):
    """What a path answers from now on: status (200), headers, body; or a fault; `held` keeps every request waiting for the next `lay`."""
    if page.get("fault") not in FAULTS:
        raise ValueError(f"no fault {page['fault']}")
    with lock:
        pages[path] = page
        lock.notify_all()
    return {}


def wait(path, count=1):
    """Once a path has been asked for so often; how often it was by then."""
    with lock:
        come = lock.wait_for(lambda: len(seen[path]) >= count, DEADLINE)
    if not come:
        raise TimeoutError(f"{path} was asked for {len(seen[path])} times, not {count}")
    return {"count": len(seen[path])}


def requests(path):
    """All requests of a path, oldest first."""
    with lock:
        return {"requests": list(seen[path])}


def counts():
    with lock:
        return {path: len(asked) for path, asked in seen.items() if asked}


def forget():
    with lock:
        seen.clear()
    return {}


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
scheme = "http"
if len(sys.argv) == 3:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(sys.argv[1], sys.argv[2])
    # The handshake is each connection's own thread's, so that nobody's holds up the others.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    scheme = "https"
threading.Thread(target=server.serve_forever, daemon=True).start()
serve({"address": f"{scheme}://127.0.0.1:{server.server_port}"}, {"lay": lay, "wait": wait, "requests": requests, "counts": counts, "forget": forget})
