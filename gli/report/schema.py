"""The published JSON Schema of `verdict.json`, made from the model.

`python -m gli.report.schema > docs/verdict.schema.json` writes it again.
"""

from __future__ import annotations

import json
from typing import Any

from gli.judge.verdict import Verdict

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12, of the documents that `Verdict.document` makes."""
    made = Verdict.model_json_schema(mode="serialization")
    properties = {"schema" if name == "schema_" else name: part for name, part in made.pop("properties").items()}
    properties["schema"]["title"] = "Schema"
    required = ["schema", *made.pop("required")]
    definitions = made.pop("$defs")
    return {"$schema": DIALECT, **made, "required": required, "properties": properties, "$defs": definitions}


if __name__ == "__main__":
    print(json.dumps(schema(), indent=1, ensure_ascii=False))
