"""What WebSocket clients see: `ws_client.py URL PORT [CA]`, or `ws_client.py tunnel://HOST PORT`.

Prints how many connections were upgraded.
"""

import asyncio
import os
import ssl
import struct
import sys
from urllib.parse import urlsplit

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

PATIENCE = 20
URL, PORT, TLS = sys.argv[1], int(sys.argv[2]), None
UPGRADED = []


def equal(found, expected):
    assert found == expected, f"{found!r:.200} is not {expected!r:.200}"


def opened(path="/", **options):
    UPGRADED.append(path)
    place = {"host": "127.0.0.1", "port": PORT, "ssl": TLS, "proxy": None}
    return connect(URL + path, max_size=4 << 20, open_timeout=PATIENCE, **place, **options)


async def said(socket, message):
    await socket.send(message)
    return await socket.recv()


async def echoes():
    for compression in (None, "deflate"):
        async with opened(compression=compression) as socket:
            for message in ("", "text \u00fc \U0001f426", b"", bytes(range(256)), os.urandom(1 << 20), "x" * (1 << 20)):
                equal(await said(socket, message), message)


async def fragments_both_ways():
    async with opened() as socket:
        equal(await said(socket, iter([b"one", b"", b"two" * 40000])), b"one" + b"two" * 40000)
        equal(await said(socket, "pieces"), "abc")


async def pings_both_ways():
    async with opened() as socket:
        await asyncio.wait_for(await socket.ping(b"from the client"), PATIENCE)
        equal(await said(socket, "ping"), "ponged")


async def close_codes_both_ways():
    async with opened() as socket:
        await socket.send("close")
        try:
            await socket.recv()
            raise AssertionError("still open")
        except ConnectionClosed as closed:
            equal((closed.rcvd.code, closed.rcvd.reason), (4002, "as you wish"))
    async with opened("/watched") as socket:
        await socket.close(4001, "had enough")
    async with opened() as socket:
        equal(await said(socket, "who closed"), "4001 had enough")


async def a_lost_client_is_lost_for_the_app():
    """Without a closing handshake the app sees 1006."""
    socket = await opened("/watched")
    socket.transport.abort()
    async with opened() as other:
        equal(await said(other, "who closed"), "1006 ")


async def refusal_passes():
    try:
        async with opened("/forbidden"):
            raise AssertionError("let in")
    except InvalidStatus as refused:
        UPGRADED.pop()
        equal((refused.response.status_code, refused.response.body), (403, b"not you\n"))
        equal(refused.response.headers.get("serin-error"), None)


async def subprotocol_passes():
    async with opened(subprotocols=["chat.v1", "chat.v2"]) as socket:
        equal(socket.subprotocol, "chat.v2")


async def many_at_once():
    async def one(n):
        async with opened() as socket:
            for turn in range(10):
                equal(await said(socket, f"{n} {turn}"), f"{n} {turn}")

    await asyncio.gather(*map(one, range(64)))


def frame(code, payload=b"", final=True, reserved=0, masked=True):
    """A frame (RFC 6455 section 5.2)."""
    size, mask = len(payload), 0x80 if masked else 0
    head = bytes([(0x80 if final else 0) | reserved | code])
    if size < 126:
        head += bytes([mask | size])
    elif size < 65536:
        head += bytes([mask | 126]) + struct.pack(">H", size)
    else:
        head += bytes([mask | 127]) + struct.pack(">Q", size)
    if not masked:
        return head + payload
    key = b"\x37\xfa\x21\x3d"
    word = int.from_bytes((key * (size // 4 + 1))[:size], "big")
    return head + key + (int.from_bytes(payload, "big") ^ word).to_bytes(size, "big")


CONTINUED, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def closing(code, reason=b""):
    return frame(CLOSE, struct.pack(">H", code) + reason)


def from_app(code, payload=b"", **more):
    return frame(code, payload, masked=False, **more)


def protocol_error(reply):
    """The app ends the connection and says why: 1002."""
    equal((reply[0], reply[2:4]), (0x88, struct.pack(">H", 1002)))


def not_unicode(reply):
    equal((reply[0], reply[2:4]), (0x88, struct.pack(">H", 1007)))


# What a client writes, and what it hears.
END = (closing(1000), from_app(CLOSE, struct.pack(">H", 1000)))
CASES = {
    **{
        f"{name} of {size}": (frame(code, b"*" * size), from_app(code, b"*" * size))
        for name, code in (("text", TEXT), ("binary", BINARY))
        for size in (0, 1, 125, 126, 127, 128, 65535, 65536, 1 << 20)
    },
    "empty ping": (frame(PING), from_app(PONG)),
    "ping of 125": (frame(PING, b"p" * 125), from_app(PONG, b"p" * 125)),
    "pong nobody asked for": (frame(PONG, b"p") + frame(TEXT, b"t"), from_app(TEXT, b"t")),
    "control frames between fragments": (
        frame(TEXT, b"a", final=False)
        + frame(PING, b"1")
        + frame(CONTINUED, b"b", final=False)
        + frame(PING, b"2")
        + frame(CONTINUED, b"c")
       ,
        from_app(PONG, b"1") + from_app(PONG, b"2") + from_app(TEXT, b"abc"),
    ),
    "empty fragments": (
        frame(TEXT, b"", final=False) + frame(CONTINUED, b"", final=False) + frame(CONTINUED),
        from_app(TEXT),
    ),
    "close with a reason": (closing(3000, b"because " + b"x" * 100), from_app(CLOSE, struct.pack(">H", 3000) + b"because " + b"x" * 100)),
    "close without a code": (frame(CLOSE), from_app(CLOSE)),
    "ping of 126": (frame(PING, b"p" * 126), protocol_error),
    "reserved bit": (frame(TEXT, b"t", reserved=0x20), protocol_error),
    "reserved code": (frame(3), protocol_error),
    "reserved control code": (frame(11), protocol_error),
    "no mask": (frame(TEXT, b"t", masked=False), protocol_error),
    "fragmented ping": (frame(PING, b"p", final=False), protocol_error),
    "continued nothing": (frame(CONTINUED, b"c"), protocol_error),
    "text within fragments": (frame(TEXT, b"a", final=False) + frame(TEXT, b"b"), protocol_error),
    "close of one byte": (frame(CLOSE, b"\x03"), protocol_error),
    "close with a code nobody may send": (closing(1005), protocol_error),
    "text that is no UTF-8": (frame(TEXT, b"\xff\xfe"), not_unicode),
}


async def raw(path="/", upgrade="websocket", first=b""):
    """A connection that asks for another protocol, and does not wait for leave with its first bytes."""
    url = urlsplit(URL)
    UPGRADED.append(path)
    name = {"ssl": TLS, "server_hostname": url.hostname} if TLS else {}
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT, limit=8 << 20, **name)
    head = (
        f"GET {path} HTTP/1.1\r\nhost: {url.netloc}\r\nconnection: upgrade\r\nupgrade: {upgrade}\r\n"
        "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-version: 13\r\n\r\n"
    )
    writer.write(head.encode() + first)
    answer = (await reader.readuntil(b"\r\n\r\n")).decode()
    assert answer.startswith("HTTP/1.1 101 ") and f"upgrade: {upgrade}" in answer.lower(), answer
    return reader, writer


async def frames():
    """Whatever is in the frames, a tunnel passes them as they are."""
    for name, (sent, heard) in CASES.items():
        reader, writer = await raw()
        writer.write(sent)
        try:
            if callable(heard):
                heard(await reader.read())
            else:
                equal(await reader.readexactly(len(heard)), heard)
                await at_its_end(reader, writer, heard)
        except AssertionError:
            print(f"case: {name}", file=sys.stderr)
            raise
        writer.close()


async def at_its_end(reader, writer, heard):
    """The connection ends where that was said, and else is still good."""
    if heard[0] != 0x80 | CLOSE:
        writer.write(END[0])
        equal(await reader.readexactly(len(END[1])), END[1])
    equal(await reader.read(), b"")


async def one_byte_at_a_time():
    reader, writer = await raw()
    sent, heard = CASES["control frames between fragments"]
    for byte in sent:
        writer.write(bytes([byte]))
        await asyncio.sleep(0)
    equal(await reader.readexactly(len(heard)), heard)
    writer.close()


async def half_close():
    """The client has said everything, some of it with its request; the app has not."""
    for early, late in ((b"", b"late"), (b"early ", b"late"), (b"\0" * (1 << 20), b"\xff" * (1 << 20))):
        reader, writer = await raw(upgrade="echo", first=early)
        equal(await reader.readexactly(6), b"hello ")
        writer.write(late)
        writer.write_eof()
        equal(await reader.read(), early + late + b" bye")
        writer.close()


async def main():
    global TLS
    if sys.argv[3:]:
        TLS = ssl.create_default_context(cafile=sys.argv[3])
    steps = [
        echoes,
        fragments_both_ways,
        pings_both_ways,
        close_codes_both_ways,
        a_lost_client_is_lost_for_the_app,
        refusal_passes,
        subprotocol_passes,
        many_at_once,
        frames,
        one_byte_at_a_time,
    ]
    for step in [half_close] if URL.startswith("tunnel:") else steps:
        try:
            await asyncio.wait_for(step(), PATIENCE)
        except BaseException:
            print(f"in {step.__name__}", file=sys.stderr)
            raise
    print(len(UPGRADED))


asyncio.run(main())
