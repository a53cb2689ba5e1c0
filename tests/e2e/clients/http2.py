# A client of HTTP/2 by the `h2` package, with prior knowledge or by ALPN.
# Asked as in `../tokens/lines.py`: `ask` sends several requests at once on one connection, and tells what each was answered.

import pathlib
import socket
import ssl
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tokens"))

import h2.config
import h2.connection
import h2.events
import lines


def connected(port, ca):
    stream = socket.create_connection(("127.0.0.1", port), timeout=20)
    if ca is None:
        return stream
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols(["h2", "http/1.1"])
    stream = context.wrap_socket(stream, server_hostname="shop.test")
    assert stream.selected_alpn_protocol() == "h2", stream.selected_alpn_protocol()
    return stream


def ask(port, requests, ca=None):
    """`requests` are `{path, token?, body?}`; the answers are `{status, headers, body}` in the same order."""
    stream = connected(port, ca)
    connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    connection.initiate_connection()
    answers = {}
    for request in requests:
        number, body = connection.get_next_available_stream_id(), request.get("body", "").encode()
        headers = [(":method", "POST" if body else "GET"), (":scheme", "https" if ca else "http"), (":authority", "shop.test"), (":path", request["path"])]
        if "token" in request:
            headers.append(("authorization", f"Bearer {request['token']}"))
        connection.send_headers(number, headers, end_stream=not body)
        if body:
            connection.send_data(number, body, end_stream=True)
        answers[number] = {"body": ""}
    stream.sendall(connection.data_to_send())
    open_streams = set(answers)
    while open_streams:
        data = stream.recv(65536)
        assert data, "the connection ended before its answers"
        for event in connection.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                headers = dict(event.headers)
                answers[event.stream_id].update(status=int(headers.pop(":status")), headers=headers)
            elif isinstance(event, h2.events.DataReceived):
                answers[event.stream_id]["body"] += event.data.decode()
                connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                open_streams.remove(event.stream_id)
            elif isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
                raise AssertionError(repr(event))
        stream.sendall(connection.data_to_send())
    stream.close()
    return {"answers": list(answers.values())}


lines.serve({}, {"ask": ask})
