"""A server's SDK in Python. A line of JSON on its input names a flag; a line says what it is."""

import json
import sys

from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext


def context(asked):
    attributes = dict(asked.get("context", {}))
    key = attributes.pop("targetingKey", None)
    return EvaluationContext(targeting_key=key, attributes=attributes)


def details(client, asked):
    get = getattr(client, f"get_{asked['type']}_details")
    found = get(asked["key"], asked["default"], context(asked))
    return {
        "value": found.value,
        "variant": found.variant,
        "reason": found.reason and str(found.reason.value if hasattr(found.reason, "value") else found.reason),
        "error": found.error_code and found.error_code.value,
        "message": found.error_message,
        "metadata": dict(found.flag_metadata),
    }


def main():
    base, headers = sys.argv[1], json.loads(sys.argv[2])
    api.set_provider(OFREPProvider(base, headers_factory=lambda: headers))
    client = api.get_client()
    for line in sys.stdin:
        print(json.dumps(details(client, json.loads(line))), flush=True)


main()
