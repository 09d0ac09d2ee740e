"""A pydantic model -> the JSON Schema that is published: no nulls, help on every field. Pure."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def published(model: type[BaseModel], identifier: str, title: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the files that the model reads."""
    schema = _without_null(model.model_json_schema(mode="validation"))
    for properties in [schema, *schema.get("$defs", {}).values()]:
        for key, field in properties.get("properties", {}).items():
            field["title"] = key
    return {"$schema": DIALECT, "$id": identifier, **schema, "title": title}


def _without_null(schema: Any) -> Any:
    """The same schema where an absent key is absent: null is never written, and no default says so."""
    if isinstance(schema, list):
        return [_without_null(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: _without_null(value) for key, value in schema.items() if not (key == "default" and value is None)}
    choices = [choice for choice in kept.get("anyOf", []) if choice != {"type": "null"}]
    if "anyOf" in kept and len(choices) == 1:
        kept.pop("anyOf")
        return {**choices[0], **kept}
    return {**kept, "anyOf": choices} if choices else kept
