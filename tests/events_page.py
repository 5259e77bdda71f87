"""What docs/events.md says of each type: its schema, with those that it refers to put in, and its example."""

import json
import re
from pathlib import Path

PAGE = Path("docs/events.md").read_text()
SECTIONS = {
    type: [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)]
    for type, section in re.findall(r"^### `([a-z_.]+)`$(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
}
EXAMPLES = {type: example for type, (_, example) in SECTIONS.items()}


def whole(schema):
    if isinstance(schema, list):
        return [whole(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return SCHEMAS[schema["$ref"]]
    return {name: whole(each) for name, each in schema.items() if name != "$id"}


SCHEMAS: dict[str, dict] = {}
for type, (schema, _) in SECTIONS.items():  # a type refers to one before it
    SCHEMAS[type] = whole(schema)
