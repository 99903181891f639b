"""Prints the part of requirements.lock that an image with a PyTorch of its own still needs.

    python lock_around_torch.py requirements.lock > around-torch.txt

NVIDIA's base image brings PyTorch and the CUDA libraries that only PyTorch needs. So what stays is what the
package asks for, directly or through others than PyTorch; the development tools fall away the same way. Who
asks for what stands in the lock's own comments ("# via").
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

PACKAGE = "voxelburst (pyproject.toml)"
BROUGHT_BY_BASE = "torch"


def pins(lock: str) -> list[tuple[str, str, set[str]]]:
    """Name, lines and requirers of every pin; a name has several where they differ by Python version."""
    found = []
    for block in re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE):
        pin = re.match(r"([A-Za-z0-9._-]+)==", block)
        if not pin:
            continue
        comments = re.findall(r"^ +# +(?:via +)?(.*\S)", block, flags=re.MULTILINE)
        found.append((pin[1], block, {comment for comment in comments if comment != "via"}))
    return found


def around_torch(lock: str) -> str:
    """The pins that are left, with their hashes."""
    locked = pins(lock)
    kept = {PACKAGE}
    while True:
        more = {name for name, _, requirers in locked if requirers & kept} - {BROUGHT_BY_BASE} - kept
        if not more:
            return "".join(block for name, block, _ in locked if name in kept)
        kept |= more


if __name__ == "__main__":
    sys.stdout.write(around_torch(Path(sys.argv[1]).read_text()))
