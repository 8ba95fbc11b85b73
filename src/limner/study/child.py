"""One run in a process of its own: an ordinary training, begun or gone on with, that tells how far it is.

The supervisor writes a task to standard input, one JSON object, and answers on it; news go to standard output, one JSON object
a line. When standard input ends, the supervisor is gone: the run is saved, and the process ends.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

LEAVING_SECONDS = 60.0
"""For a run to save itself when nobody waits for it any more."""
NEWS_SECONDS = 0.5
LOCKED_SECONDS = 90.0
"""For a process that was at the run before to save it and leave."""
INTERRUPTED = 130


class Link:
    """The way to the supervisor and back.

    Args:
        given, told: what is read from and written to.
    """

    def __init__(self, given: IO[str], told: IO[str]) -> None:
        self._given, self._told = given, told
        self._answers: SimpleQueue[str] = SimpleQueue()
        self._lock = threading.Lock()

    def listen(self) -> None:
        """Take answers from now on, and leave when there will be none."""
        threading.Thread(target=self._listen, name="limner-study", daemon=True).start()

    def tell(self, news: Mapping[str, Any]) -> None:
        """One line of news. Whoever is gone need not be told: :meth:`listen` sees to that."""
        with self._lock:
            try:
                self._told.write(json.dumps(news) + "\n")
                self._told.flush()
            except (OSError, ValueError):
                pass

    def ask(self, news: Mapping[str, Any]) -> str:
        """News that are answered."""
        self.tell(news)
        return self._answers.get()

    def _listen(self) -> None:
        for line in self._given:
            self._answers.put(line.strip())
        self._answers.put("")
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(LEAVING_SECONDS)
        os._exit(INTERRUPTED)


def main() -> int:
    """Do the task on standard input; returns the exit code."""
    told = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever else is printed is no news
    task = json.loads(sys.stdin.readline())
    link = Link(sys.stdin, told)
    link.listen()
    from limner.device import is_shortage
    from limner.errors import LimnerError
    from limner.study.run import do

    try:
        result = do(task, link)
    except (LimnerError, OSError, MemoryError) as error:
        link.tell({"fault": str(error) or type(error).__name__})
        return getattr(error, "exit_code", 1)
    except RuntimeError as error:
        if not is_shortage(error):
            raise
        link.tell({"fault": f"out of memory ({error})"})
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    if result is None:
        return INTERRUPTED
    link.tell({"result": result})
    return 0


def command() -> list[str]:
    """The command line of such a process."""
    return [sys.executable, "-m", "limner.study.child"]


def environment(threads: int) -> dict[str, str]:
    """Its environment: so many threads, whatever else is at work."""
    variables = {**os.environ, "PYTHONUNBUFFERED": "1"}
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        variables[name] = str(threads)
    variables.setdefault("GOMP_SPINCOUNT", "10000")  # see limner.cli.main
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        variables.pop(name, None)  # a run is one process, whoever started the study
    return variables


def result_path(out: Path, run: str) -> Path:
    """Where the result of a run is kept."""
    return out / "results" / f"{run}.json"


if __name__ == "__main__":
    sys.exit(main())
