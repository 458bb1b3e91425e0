"""A gRPC app by grpcio, without generated code: messages are bytes as they are. Prints its port."""

import threading
from concurrent import futures

import grpc

BEGUN = threading.Semaphore(0)
ENDED = threading.Semaphore(0)
SEEN = threading.Semaphore(0)


def unary(request, context):
    """Answers what it got, backwards, and the caller's metadata in head and trailers."""
    asked = dict(context.invocation_metadata())
    context.send_initial_metadata([("x-told", asked.get("x-asked", "nothing"))])
    context.set_trailing_metadata([("x-end", "end"), ("x-raw-bin", asked.get("x-raw-bin", b""))])
    return request[::-1]


def fail(request, context):
    """Fails before anything else was sent; the message says how."""
    code, _, text = request.decode().partition(" ")
    context.abort(next(one for one in grpc.StatusCode if one.value[0] == int(code)), text)


def fail_late(request, context):
    """The same once a message was sent: the status can only be in the trailers."""
    yield b"first"
    fail(request, context)


def count(request, context):
    """Sends the next number once the one before has been seen by the client, who says so."""
    for number in range(int(request)):
        yield str(number).encode()
        if not SEEN.acquire(timeout=15):
            context.abort(grpc.StatusCode.ABORTED, f"nobody has seen {number}")


def seen(request, context):
    SEEN.release()
    return b""


def flood(request, context):
    """Many messages as fast as they go."""
    for number in range(int(request)):
        yield number.to_bytes(4, "big") * 256


def total(requests, context):
    return str(sum(map(len, requests))).encode()


def talk(requests, context):
    for request in requests:
        yield b"re: " + request


def hang(request, context):
    """Answers nothing until the call has ended otherwise."""
    ended = threading.Event()
    context.add_callback(ENDED.release)
    context.add_callback(ended.set)
    BEGUN.release()
    ended.wait(30)
    return b""


def hangs(request, context):
    """Waits until one call of `hang` has begun."""
    return b"begun" if BEGUN.acquire(timeout=15) else b"nothing came"


def hung(request, context):
    """Waits until one call of `hang` has ended."""
    return b"ended" if ENDED.acquire(timeout=15) else b"goes on"


def main():
    methods = {
        **{one.__name__: grpc.unary_unary_rpc_method_handler(one) for one in (unary, fail, seen, hang, hangs, hung)},
        **{one.__name__: grpc.unary_stream_rpc_method_handler(one) for one in (fail_late, count, flood)},
        "total": grpc.stream_unary_rpc_method_handler(total),
        "talk": grpc.stream_stream_rpc_method_handler(talk),
    }
    server = grpc.server(futures.ThreadPoolExecutor(64))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Talk", methods),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    server.wait_for_termination()


main()
