"""Stands in for `python -m voxelburst` in the tests of the executor: does what its command says, and tells what it saw.

    note FILE           appends a line with what a stage can see to FILE
    exit CODE           ends with the code
    sleep SECONDS       waits
    fail-once FILE CODE ends with the code when FILE is not there yet, and makes it
    hang-once FILE      makes FILE and waits when it is not there yet, else ends well
    progress            prints a progress event, an error document and a line of other text
    work                prints a progress event, works for a moment and ends well
    burst FILE          starts a grandchild in a session of its own that appends to FILE for ever, then waits
    train               SageMaker's contract: what the hyperparameter `does` says
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path


def note(file: str) -> None:
    seen = {
        name: os.environ.get(name)
        for name in (
            "AWS_BATCH_JOB_ID", "AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ATTEMPT", "OMP_NUM_THREADS",
            "CUDA_VISIBLE_DEVICES", "VOXELBURST_PSEUDONYM_KEY", "EXTRA",
        )
    }  # fmt: skip
    began = time.time()
    time.sleep(0.15)
    line = json.dumps({**seen, "args": sys.argv[1:], "from": began, "to": time.time()}) + "\n"
    with open(file, "a") as f:
        f.write(line)


def train() -> int:
    base = Path(os.environ["SAGEMAKER_BASE_DIR"])
    does = json.loads((base / "input/config/hyperparameters.json").read_text()).get("does", "")
    arrays = base / "input/data/arrays"
    files = sorted(str(p.relative_to(arrays)) for p in arrays.rglob("*") if p.is_file()) if arrays.exists() else []
    checkpoint = base / "checkpoints" / "step"
    before = checkpoint.read_text() if checkpoint.exists() else ""
    checkpoint.write_text(before + "x")
    (base / "output/data/seen.json").write_text(json.dumps({"files": files, "before": before}))
    if does == "fail":
        (base / "output/failure").write_text("y" * 3000)
        return 1
    if does == "hang":
        time.sleep(60)
    return 0


def main() -> int:
    what, *rest = sys.argv[1:]
    if what == "note":
        note(rest[0])
    elif what == "exit":
        return int(rest[0])
    elif what == "sleep":
        time.sleep(float(rest[0]))
    elif what == "fail-once":
        if not os.path.exists(rest[0]):
            open(rest[0], "w").close()
            return int(rest[1])
    elif what == "hang-once":
        if not os.path.exists(rest[0]):
            open(rest[0], "w").close()
            time.sleep(60)
    elif what == "progress":
        event = {"type": "progress", "time": "2026-01-01T00:00:00.000+00:00", "stage": "ingest", "taskId": "ingest"}
        print(json.dumps({**event, "index": 0, "done": 1, "total": 2, "unit": "cases", "rate": 0.5}))
        print(json.dumps({"type": "error", "schema": 1, "code": "Planted", "message": "m", "remedy": "r"}))
        print("plain text")
        print("complaint", file=sys.stderr)
        return 3
    elif what == "work":
        event = {"type": "progress", "time": "2026-01-01T00:00:00.000+00:00", "stage": "ingest", "taskId": "ingest"}
        print(json.dumps({**event, "done": 0, "total": 2, "unit": "cases", "rate": 0}), flush=True)
        time.sleep(0.3)
    elif what == "burst":
        loop = f"import time\nwhile True:\n open({rest[0]!r}, 'a').write('x')\n time.sleep(0.02)"
        subprocess.Popen([sys.executable, "-c", loop], start_new_session=True)
        time.sleep(60)
    elif what == "train":
        return train()
    return 0


if __name__ == "__main__":
    sys.exit(main())
