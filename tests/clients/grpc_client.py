"""What a gRPC client sees: `grpc_client.py ADDRESS NAME [CA]`. Prints how many calls were good and bad."""

import queue
import sys

import grpc

PATIENCE = 20
GOOD, BAD = [], []


def opened(address, name, ca=None):
    if ca is None:
        return grpc.insecure_channel(address, [("grpc.default_authority", name)])
    with open(ca, "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    return grpc.secure_channel(address, credentials, [("grpc.ssl_target_name_override", name)])


class Talk:
    def __init__(self, channel):
        for name in ("unary", "fail", "seen", "hang", "hangs", "hung"):
            setattr(self, name, channel.unary_unary(f"/test.Talk/{name}"))
        for name in ("fail_late", "count", "flood"):
            setattr(self, name, channel.unary_stream(f"/test.Talk/{name}"))
        self.total = channel.stream_unary("/test.Talk/total")
        self.talk = channel.stream_stream("/test.Talk/talk")
        self.missing = channel.unary_unary("/test.Talk/missing")


def equal(found, expected):
    assert found == expected, f"{found!r} is not {expected!r}"


def good(times=1):
    GOOD.extend([None] * times)


def status(call, code, text):
    """The call ends with this status, its text beside it."""
    try:
        result = call()
        list(result) if not isinstance(result, bytes) else None
        raise AssertionError(f"no {code}")
    except grpc.RpcError as error:
        equal((error.code(), error.details()), (code, text))


def unary_with_metadata(talk):
    sent = [("x-asked", "asked"), ("x-raw-bin", b"\0\xff\1")]
    answer, call = talk.unary.with_call(b"hello", metadata=sent, timeout=PATIENCE)
    equal(answer, b"olleh")
    equal(dict(call.initial_metadata())["x-told"], "asked")
    trailing = dict(call.trailing_metadata())
    equal((trailing["x-end"], trailing["x-raw-bin"]), ("end", b"\0\xff\1"))
    good()


def sizes(talk):
    for size in (0, 1, 16384, 65535, 65536, 3 << 20):
        message = (bytes(range(251)) * (size // 251 + 1))[:size]
        equal(talk.unary(message, timeout=PATIENCE), message[::-1])
        good()


def many_at_once(talk):
    calls = [talk.unary.future(str(n).encode(), timeout=PATIENCE) for n in range(200)]
    for n, call in enumerate(calls):
        equal(call.result(), str(n).encode()[::-1])
    good(len(calls))


def one_by_one(talk):
    for expected, number in enumerate(talk.count(b"5", timeout=PATIENCE)):
        equal(int(number), expected)
        talk.seen(b"", timeout=PATIENCE)
    good(1 + 5)


def flood(talk):
    for expected, message in enumerate(talk.flood(b"4000", timeout=PATIENCE)):
        equal(message, expected.to_bytes(4, "big") * 256)
    equal(expected, 3999)
    good()


def client_streams(talk):
    equal(talk.total((b"x" * n for n in range(200)), timeout=PATIENCE), b"19900")
    equal(talk.total((bytes(65536) for _ in range(64)), timeout=PATIENCE), str(64 << 16).encode())
    equal(talk.total(iter(()), timeout=PATIENCE), b"0")
    good(3)


def both_stream(talk):
    """The client says nothing new until it has heard the answer."""
    said = queue.Queue()
    answers = talk.talk(iter(said.get, None), timeout=PATIENCE)
    for n in range(20):
        said.put(str(n).encode())
        equal(next(answers), f"re: {n}".encode())
    said.put(None)
    equal(list(answers), [])
    good()


def statuses(talk):
    codes = {code.value[0]: code for code in grpc.StatusCode}
    for number in range(1, 17):
        text = f"no. {number}, 100% \u00fc"
        for method in (talk.fail, talk.fail_late):
            status(lambda: method(f"{number} {text}".encode(), timeout=PATIENCE), codes[number], text)
            (BAD if number in (2, 4, 13, 14, 15) else GOOD).append(number)
    status(lambda: talk.missing(b"", timeout=PATIENCE), grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
    good()


def cancelled(talk):
    """The app hears of it: no deadline was sent with the call."""
    call = talk.hang.future(b"")
    equal(talk.hangs(b"", timeout=PATIENCE), b"begun")
    call.cancel()
    equal(talk.hung(b"", timeout=PATIENCE), b"ended")
    good(2)


def too_late(talk):
    try:
        talk.hang(b"", timeout=0.3)
        raise AssertionError("an answer")
    except grpc.RpcError as error:
        equal(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
    equal(talk.hangs(b"", timeout=PATIENCE), b"begun")
    equal(talk.hung(b"", timeout=PATIENCE), b"ended")
    good(2)


def main():
    with opened(*sys.argv[1:]) as channel:
        talk = Talk(channel)
        for step in (
            unary_with_metadata,
            sizes,
            many_at_once,
            one_by_one,
            flood,
            client_streams,
            both_stream,
            statuses,
            cancelled,
            too_late,
        ):
            try:
                step(talk)
            except BaseException:
                print(f"in {step.__name__}", file=sys.stderr)
                raise
    print(len(GOOD), len(BAD))


main()
