"""Starts a stage so that it cannot outlive the engine: ``python launcher.py ENGINE_PID PROGRAM ARGUMENT ...``

Linux kills nobody when a parent dies: a stage whose engine was killed would go on writing while its successor writes the
same outputs. So this process stays between them. It is told by the kernel when the engine ends, adopts every process
that the stage leaves behind, and leaves none: also not those that moved into a session of their own, as torchrun's do.

Signals: SIGTERM and SIGINT are handed on to the stage; SIGUSR1, or the end of the engine, kills everything at once.
Exit code: the stage's, or 128 + n after signal n, as container runtimes have it. Standard library only: it starts in
milliseconds.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
prctl = ctypes.CDLL(None, use_errno=True).prctl


def descendants() -> list[int]:
    """Every process below this one; processes that lost their parent hang directly below it."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as f:
                state, parent = f.read().rsplit(b")", 1)[1].split()[:2]
        except OSError:
            continue
        if state != b"Z":
            children.setdefault(int(parent), []).append(int(name))
    found: list[int] = []
    pending = [os.getpid()]
    while pending:
        below = children.get(pending.pop(), [])
        found += below
        pending += below
    return found


def kill_descendants() -> None:
    while below := descendants():
        for pid in below:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        reap()


def reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def main() -> int:
    engine, command = int(sys.argv[1]), sys.argv[2:]
    child = 0

    def kill_all(*_: object) -> None:
        kill_descendants()
        os._exit(137)

    def hand_on(number: int, _: object) -> None:
        if child:
            try:
                os.kill(child, number)
            except ProcessLookupError:
                pass

    signal.signal(signal.SIGUSR1, kill_all)
    signal.signal(signal.SIGTERM, hand_on)
    signal.signal(signal.SIGINT, hand_on)
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    prctl(PR_SET_PDEATHSIG, signal.SIGUSR1, 0, 0, 0)
    if os.getppid() != engine:  # it ended before the kernel was asked
        return 137

    launcher = os.getpid()
    child = os.fork()
    if child == 0:
        # Should the launcher itself be killed, the stage still goes with it.
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != launcher:
            os._exit(137)
        for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        try:
            os.execvp(command[0], command)
        except OSError as error:
            print(f"{command[0]}: {error.strerror}", file=sys.stderr, flush=True)
            os._exit(127)

    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == child:
            break
    kill_descendants()
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
