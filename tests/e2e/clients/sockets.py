# Both ends of WebSockets by the `websockets` package: a server that echoes, and clients of whatever address they are given.
# Asked as in `../tokens/lines.py`: `open`, `echo`, `deflated`, `closed`; every client has a name.

import hashlib
import pathlib
import random
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tokens"))

import lines
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.sync.server import serve

open_clients = {}


def answer(server):
    """Sends back what comes; a text asks for the digest of the last bytes."""
    digest = None
    for message in server:
        if isinstance(message, str):
            server.send(digest.hexdigest())
        else:
            digest = hashlib.sha256(message)
            server.send(message)


def open_client(name, url, token=None):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        client = connect(url, additional_headers=headers, max_size=None, open_timeout=20, proxy=None, legacy=True)
    except InvalidStatus as refusal:
        return {"status": refusal.response.status_code}
    open_clients[name] = client
    return {"status": 101}


def echo(name, size):
    """Random bytes there and back; the digests of what was sent, of what arrived, and of what came back."""
    client, sent = open_clients[name], random.randbytes(size)
    client.send(sent)
    back = client.recv(timeout=60)
    client.send("digest")
    return {"digests": [hashlib.sha256(sent).hexdigest(), client.recv(timeout=60), hashlib.sha256(back).hexdigest()]}


def deflated(name):
    return {"extensions": [extension.name for extension in open_clients[name].protocol.extensions]}


def closed(name):
    """Waits for the end, and tells the code."""
    try:
        open_clients[name].recv(timeout=30)
        return {"error": "a message came"}
    except ConnectionClosed as end:
        return {"code": end.rcvd.code if end.rcvd else None}


server = serve(answer, "127.0.0.1", 0, max_size=None)
threading.Thread(target=server.serve_forever, daemon=True).start()
ready = {"address": "http://127.0.0.1:%s" % server.socket.getsockname()[1]}
lines.serve(ready, {"open": open_client, "echo": echo, "deflated": deflated, "closed": closed})
