"""Holds a document to its JSON Schema (lib/contracts/schema) and says which field is wrong, in a sentence."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from .errors import StageError

_CHECKOUT = Path(__file__).resolve().parents[3] / "lib" / "contracts" / "schema"


@cache
def _validator(document: str) -> Draft202012Validator:
    folder = Path(os.environ.get("VOXELBURST_SCHEMA_DIR") or _CHECKOUT)
    path = folder / f"{document}.json"
    if not path.exists():
        raise StageError(
            "SchemaMissing",
            f"The JSON Schema of {document!r} is not where it should be.",
            "Set VOXELBURST_SCHEMA_DIR to the folder with the contracts' schemas.",
        )
    return Draft202012Validator(json.loads(path.read_text()))


def _path(parts: Any) -> str:
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else str(part))
    return text


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _deepest(error: ValidationError) -> ValidationError:
    """In a union, the branch that came furthest is the one the writer meant."""
    while error.validator in ("oneOf", "anyOf") and error.context:
        branches: dict[int, list[ValidationError]] = {}
        for inner in error.context:
            branches.setdefault(inner.schema_path[0], []).append(inner)  # type: ignore[arg-type]

        def wrong_kind(branch: list[ValidationError]) -> bool:
            # A discriminator that differs, or another type altogether: not the branch that was meant.
            return any(inner.validator == "const" and len(inner.path) > 0 for inner in branch) or (
                len(branch) == 1 and branch[0].validator == "type" and not branch[0].path
            )

        meant = [b for b in branches.values() if not wrong_kind(b)] or list(branches.values())
        meant.sort(key=lambda b: (-max(len(e.absolute_path) for e in b), len(b)))
        error = meant[0][0]
    return error


def _is_tuple(error: ValidationError) -> bool:
    """Whether an array has one length, whichever way it was missed."""
    return "prefixItems" in error.schema  # type: ignore[operator]


def _describe(error: ValidationError) -> tuple[str, str, str]:
    """(field, got, allowed) of one violation."""
    here = list(error.absolute_path)
    rule, limit = error.validator, error.validator_value
    if rule == "additionalProperties":
        known = sorted(error.schema.get("properties", {}))  # type: ignore[union-attr]
        extra = sorted(set(error.instance) - set(known))[0]  # type: ignore[arg-type]
        return _path([*here, extra]), "a field that is not known", f"the fields {', '.join(known)}"
    if rule == "required":
        name = next(n for n in limit if n not in error.instance)  # type: ignore[union-attr, operator]
        wanted = error.schema.get("properties", {}).get(name, {})  # type: ignore[union-attr]
        return _path([*here, name]), "nothing", f"a value of type {wanted.get('type', 'any')}"
    got = _shown(error.instance)
    words = {
        "type": lambda: "a whole number" if limit == "integer" else f"a value of type {limit}",
        "enum": lambda: f"one of {', '.join(_shown(v) for v in limit)}",  # type: ignore[union-attr]
        "const": lambda: _shown(limit),
        "minimum": lambda: f"at least {limit}",
        "maximum": lambda: f"at most {limit}",
        "exclusiveMinimum": lambda: f"more than {limit}",
        "exclusiveMaximum": lambda: f"less than {limit}",
        "minItems": lambda: f"{'' if _is_tuple(error) else 'at least '}{limit} items",
        "maxItems": lambda: f"{'' if _is_tuple(error) else 'at most '}{limit} items",
        "minLength": lambda: f"at least {limit} characters",
        "maxLength": lambda: f"at most {limit} characters",
        "pattern": lambda: error.schema.get("x-allowed") or f"text that matches {limit}",  # type: ignore[union-attr]
    }
    if rule == "not":
        return _path(here), got, str(error.schema.get("x-allowed") or error.message)  # type: ignore[union-attr]
    return _path(here), got, words[rule]() if rule in words else str(error.message)  # type: ignore[index]


def check(document: str, value: Any, what: str, code: str = "DocumentInvalid") -> None:
    """Raises StageError, naming the field at fault, when ``value`` does not fit ``document``'s schema."""
    errors = [_deepest(e) for e in _validator(document).iter_errors(value)]
    if not errors:
        return
    errors.sort(key=lambda e: list(map(str, e.absolute_path)))
    field, got, allowed = _describe(errors[0])
    field = field or "(the document)"
    others = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    raise StageError(
        code,
        f"{what}: {field} is {got}; allowed: {allowed}{others}.",
        f"Correct {field} in {what} and start again.",
        field=field,
        got=got,
        allowed=allowed,
    )
