"""A WebSocket app by `websockets`, and one that tunnels bytes. Prints the ports of both.

`ws_app.py [CERTIFICATE KEY]`: with a certificate the first speaks TLS.
"""

import asyncio
import ssl
import sys

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

CLOSED = asyncio.Queue()


async def talk(socket):
    """Echoes; some texts are orders."""
    try:
        async for message in socket:
            if message == "close":
                await socket.close(4002, "as you wish")
            elif message == "ping":
                await (await socket.ping(b"from the app"))
                await socket.send("ponged")
            elif message == "pieces":
                await socket.send(iter(["a", "b", "", "c"]))
            elif message == "who closed":
                await socket.send(await asyncio.wait_for(CLOSED.get(), 15))
            else:
                await socket.send(message)
    except ConnectionClosed:
        pass
    if socket.request.path == "/watched":
        CLOSED.put_nowait(f"{socket.close_code} {socket.close_reason}")


def refuse(connection, request):
    if request.path == "/forbidden":
        return connection.respond(403, "not you\n")


def chosen(connection, offered):
    return "chat.v2" if "chat.v2" in offered else None


async def tunnel(reader, writer):
    """Answers 101, says hello, and gives back what came once the client has said everything."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nhello ")
    everything = await reader.read()
    writer.write(everything + b" bye")
    await writer.drain()
    writer.close()


async def main():
    tls = None
    if sys.argv[1:]:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*sys.argv[1:])
    options = {"process_request": refuse, "select_subprotocol": chosen, "max_size": 4 << 20, "ssl": tls}
    app = await serve(talk, "127.0.0.1", 0, **options)
    raw = await asyncio.start_server(tunnel, "127.0.0.1", 0, limit=8 << 20)
    print(*(server.sockets[0].getsockname()[1] for server in (app, raw)), flush=True)
    await asyncio.Future()


asyncio.run(main())
