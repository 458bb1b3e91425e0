"""Made-up users: 100 requests a second from a thousand of them, and once a second what they got.

python3 users.py [http://127.0.0.1:8080]
"""

import collections
import http.client
import random
import re
import sys
import time
import urllib.parse

ADDRESS = urllib.parse.urlsplit(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080").netloc
INTERVAL = 1 / 100


def ask(connection):
    """The version in a page's text, or what went wrong."""
    try:
        user = f"user-{random.randrange(1000)}"
        connection.request("GET", random.choice(["/", "/search"]), headers={"x-user-id": user})
        answer = connection.getresponse()
        text = answer.read().decode()
    except (OSError, http.client.HTTPException):
        connection.close()
        return "no answer"
    if answer.status != 200:
        return f"status {answer.status}"
    version = re.search(r"(\S+) on (stable|canary)", text)
    return version.group(1) if version else "sorry"


def main():
    connection = http.client.HTTPConnection(ADDRESS, timeout=30)
    seen, due = collections.Counter(), time.monotonic()
    told = due + 1
    while True:
        seen[ask(connection)] += 1
        due += INTERVAL
        if due >= told:
            print("  ".join(f"{what}: {count}" for what, count in sorted(seen.items())), flush=True)
            seen.clear()
            told = due + 1
        # After a hiccup it does not catch up: that would be a burst.
        due = max(due, time.monotonic() - INTERVAL)
        time.sleep(max(0, due - time.monotonic()))


if __name__ == "__main__":
    try:
        main()
    except (KeyboardInterrupt, BrokenPipeError):
        pass
