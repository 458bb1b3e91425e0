"""What bucket.py says to the vectors on standard input."""

import json
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, "docs/buckets")
from bucket import bucket, is_exposed, variant, xxh3

vectors = json.load(sys.stdin)
json.dump(
    {
        "hashes": [str(xxh3(v["text"].encode())) for v in vectors["hashes"]],
        "buckets": [bucket(v["salt"], v["id"]) for v in vectors["buckets"]],
        "exposures": [is_exposed(v["salt"], v["id"], v["percentage"]) for v in vectors["exposures"]],
        "variants": [variant(v["flag"], v["id"], v["weights"]) for v in vectors["variants"]],
    },
    sys.stdout,
)
