"""Stands in for `python -m voxelburst` in the tests of the executor: does what its command says, and tells what it saw.

    note FILE           appends a line with what a stage can see to FILE
    exit CODE           ends with the code
    sleep SECONDS       waits
    stubborn SECONDS    waits, whatever SIGTERM says
    start FILE SECONDS  appends an empty object to FILE and waits
    fail-once FILE CODE ends with the code when FILE is not there yet, and makes it
    needs-room FILE     ends as a stage does on a full disk when FILE is not there
    hang-once FILE      makes FILE and waits when it is not there yet, else ends well
    progress            prints a progress event, an error document and a line of other text
    work                prints a progress event, works for a moment and ends well
    burst FILE          starts a grandchild in a session of its own that appends to FILE for ever, then waits
    train               SageMaker's contract: what the hyperparameter `does` says
    serve               SageMaker's transform contract: answers each record with what it was sent; "fail" with 500
    node FILE           a node of a multi-node job: appends what it sees of the others; the main one waits for them
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
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
    time.sleep(0.4)
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
    if does == "checkpoint":
        # Ends as if nothing had happened: that it was told to stop is for the service to say.
        stopped = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stopped.set())
        if stopped.wait(60):
            time.sleep(0.3)  # a checkpoint takes its time
            checkpoint.write_text(before + "x, stopped")
    if does == "work":
        event = {"type": "progress", "time": "2026-01-01T00:00:00.000+00:00", "stage": "train", "taskId": "train-x"}
        print(json.dumps({**event, "done": 0, "total": 2, "unit": "steps", "rate": 0}), flush=True)
        time.sleep(0.3)
    return 0


def serve() -> int:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            record = json.loads(body)
            answer = json.dumps({"got": record, "task": os.environ.get("VOXELBURST_TASK")}) + "\n"
            self.send_response(500 if "fail" in record else 200)
            self.end_headers()
            self.wfile.write(answer.encode())
            if "die" in record:
                os._exit(7)

    print("serving", flush=True)
    HTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
    return 0


def node(file: str) -> int:
    names = ("NUM_NODES", "NODE_INDEX", "MAIN_NODE_INDEX", "MAIN_NODE_PRIVATE_IPV4_ADDRESS")
    seen = {name: os.environ.get(f"AWS_BATCH_JOB_{name}") for name in names}
    with open(file, "a") as f:
        f.write(json.dumps(seen) + "\n")
    if seen["NODE_INDEX"] != "0":
        time.sleep(60)  # until the main node has ended
        return 0
    until = time.time() + 20
    while len(Path(file).read_text().splitlines()) < int(seen["NUM_NODES"] or 0) and time.time() < until:
        time.sleep(0.02)
    return 0


def main() -> int:
    what, *rest = sys.argv[1:]
    if what == "note":
        note(rest[0])
    elif what == "exit":
        return int(rest[0])
    elif what == "sleep":
        time.sleep(float(rest[0]))
    elif what == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(float(rest[0]))
    elif what == "start":
        with open(rest[0], "a") as f:
            f.write("{}\n")
        time.sleep(float(rest[1]))
    elif what == "fail-once":
        if not os.path.exists(rest[0]):
            open(rest[0], "w").close()
            return int(rest[1])
    elif what == "needs-room":
        if not os.path.exists(rest[0]):
            print(json.dumps({"type": "error", "schema": 1, "code": "DiskFull", "message": "Full.", "remedy": "Free some."}))
            return 1
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
    elif what == "serve":
        return serve()
    elif what == "node":
        return node(rest[0])
    elif what == "train":
        return train()
    return 0


if __name__ == "__main__":
    sys.exit(main())
