"""The command in processes that need not import torch first: forked from one that has, each with its own place and environment.

    python warm_command.py

Reads a line of JSON for each command (``arguments``, ``folder``, ``environment``, ``out``, ``err``, ``seconds``) and answers
with a line that has its exit code; -9 when it took too long. What a command does is what ``python -m limner`` does, and it ends
with its process; only the seconds of the imports, of which a hundred commands would spend minutes, are spent once.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

MODULES = (
    "limner.cli", "limner.films", "limner.training.train", "limner.training.resuming", "limner.training.plan",
    "torch._dynamo", "limner.judging.report", "limner.judging.subjects", "limner.judging.inspect", "limner.judging.features",
    "PIL.PngImagePlugin",
)  # fmt: skip


def perform(order: dict[str, Any]) -> None:
    """In the child: the command, from its first line to its last."""
    code = 1
    try:
        for number, name in ((1, order["out"]), (2, order["err"])):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdin, sys.stdout, sys.stderr = (
            open(number, mode, encoding="utf-8", errors=errors, closefd=False)  # noqa: SIM115
            for number, mode, errors in ((0, "r", "strict"), (1, "w", "strict"), (2, "w", "backslashreplace"))
        )
        os.chdir(order["folder"])
        os.environ.clear()
        os.environ.update(order["environment"])
        os.environ["PWD"] = order["folder"]
        sys.argv = ["limner", *order["arguments"]]
        from limner.cli import main

        main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(BaseException):
                stream.flush()
        os._exit(code)


def wait(child: int, seconds: float) -> int:
    """The exit code of a child, which is ended after so many seconds."""
    deadline, pause = time.monotonic() + seconds, 0.002
    while time.monotonic() < deadline:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(pause)
        pause = min(0.05, 1.2 * pause)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -9


def main() -> None:
    import importlib

    os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as the command does before torch is loaded
    for name in MODULES:
        importlib.import_module(name)
    import torch

    torch.set_num_threads(1)
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            perform(order)
        print(json.dumps(wait(child, order["seconds"])), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
