"""The small dataset of the training's tests, whose preprocess task the whole commands are given."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "train"))
