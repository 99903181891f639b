"""Says, as one JSON object, which packages the environment lacks, and where it lacks none what the machine can do.

Run by lib/local/machine.ts, which keeps the answer until the environment or the machine changes.
"""

import importlib.metadata
import importlib.util
import json
import re
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[2] / "containers" / "pyproject.toml"


def missing_packages() -> list[str]:
    """Packages that the stages need and that are not installed, or whose modules are gone: a run would fail midway."""
    requirements = tomllib.loads(PYPROJECT.read_text())["project"]["dependencies"]
    modules_of: dict[str, list[str]] = {}
    for module, packages in importlib.metadata.packages_distributions().items():
        for package in packages:
            modules_of.setdefault(package, []).append(module)
    names = [re.match(r"[A-Za-z0-9._-]+", requirement)[0] for requirement in requirements]
    return [name for name in names if not all(map(is_there, modules_of.get(name, [name.replace("-", "_")])))]


def is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def main() -> None:
    answer: dict = {"missing": missing_packages()}
    if not answer["missing"]:
        from voxelburst import machine

        answer["machine"] = machine.describe()
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
