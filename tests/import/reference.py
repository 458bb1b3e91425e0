"""What flagd's own evaluator for Python says: a document and contexts come as JSON, values with
their variants go out; null is the code's own default."""

import json
import logging
import sys

from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext

logging.disable(logging.CRITICAL)
asked = json.load(sys.stdin)
core = FlagdCore()
core.set_flags(json.dumps(asked["document"]))
answers = []
for context in asked["contexts"]:
    attributes = {name: value for name, value in context.items() if name != "targetingKey"}
    context = EvaluationContext(context.get("targetingKey"), attributes)
    row = {}
    for key in asked["flags"]:
        try:
            found = core._resolve(key, None, context)
            row[key] = None if found.variant is None else [found.variant, found.value]
        except Exception as error:  # noqa: BLE001
            row[key] = f"{type(error).__name__}: {error}"
    answers.append(row)
json.dump(answers, sys.stdout)
