"""An ASGI app by uvicorn, whose streams go on when they are told. Prints its port."""

import asyncio
import socket

import uvicorn

TOLD = asyncio.Semaphore(0)
LEFT = asyncio.Semaphore(0)


async def body_of(receive):
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        yield message.get("body", b"")


async def app(scope, receive, send):
    async def head(kind):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})

    async def more(body, more=True):
        await send({"type": "http.response.body", "body": body, "more_body": more})

    if scope["type"] != "http":
        return
    path = scope["path"]
    if path == "/events":
        await head(b"text/event-stream")
        for number in range(3):
            await more(f"id: {number}\ndata: event {number}\n\n".encode())
            await TOLD.acquire()
        await more(b"", False)
    elif path == "/go":
        TOLD.release()
        await head(b"text/plain")
        await more(b"gone on", False)
    elif path == "/forever":
        await head(b"text/event-stream")
        await more(b": here\n\n")
        while (await receive())["type"] != "http.disconnect":
            pass
        LEFT.release()
    elif path == "/left":
        await asyncio.wait_for(LEFT.acquire(), 15)
        await head(b"text/plain")
        await more(b"left", False)
    elif path == "/upper":
        await head(b"text/plain")
        async for piece in body_of(receive):
            await more(piece.upper())
        await more(b"", False)
    elif path == "/raise":
        raise RuntimeError("as asked")


async def main():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(app, lifespan="off", log_level="critical", access_log=False)
    await uvicorn.Server(config).serve([listener])


asyncio.run(main())
