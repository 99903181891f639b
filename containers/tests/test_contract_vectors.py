"""The examples that the TypeScript tests read too: valid here as there, and an error names the same field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from voxelburst import schema
from voxelburst.errors import StageError

_VECTORS = sorted((Path(__file__).parents[2] / "lib" / "contracts" / "vectors").glob("*.json"))


def _examples(kind: str) -> list[Any]:
    return [
        pytest.param(path.stem, example, id=f"{path.stem}: {example['name']}")
        for path in _VECTORS
        for example in json.loads(path.read_text())[kind]
    ]


@pytest.mark.parametrize(("document", "example"), _examples("valid"))
def test_a_valid_example_is_accepted(document: str, example: dict[str, Any]) -> None:
    schema.check(document, example["value"], document)


@pytest.mark.parametrize(("document", "example"), _examples("invalid"))
def test_an_invalid_example_is_refused_by_its_field(document: str, example: dict[str, Any]) -> None:
    with pytest.raises(StageError) as caught:
        schema.check(document, example["value"], document)
    assert caught.value.field == example["field"]
    assert caught.value.got and caught.value.allowed
