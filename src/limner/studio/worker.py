"""What a job does, in a process of its own: values as JSON on standard input, lines of JSON on standard output.

A line is ``{"progress": [done, total, what]}``, ``{"result": {...}}`` or ``{"error": "one line"}``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from limner.errors import LimnerError
from limner.progress import heard

NAMED = 300
"""Names in a list that a page shows at most; the count is told."""
_BETWEEN = 0.2


class Teller:
    """Tells whoever started this how far it is, a few times a second at most."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._told = stream, 0.0

    def say(self, line: Mapping[str, Any]) -> None:
        """One line."""
        self._stream.write(json.dumps(line) + "\n")
        self._stream.flush()

    def progress(self, done: int, total: int, what: str = "") -> None:
        """So many pieces of so many."""
        now = time.monotonic()
        if done == total or now - self._told > _BETWEEN:
            self._told = now
            self.say({"progress": [done, total, what]})


def inspect(values: Mapping[str, Any], teller: Teller) -> dict[str, Any]:
    """Look at a collection as ``limner inspect`` does, with a contact sheet."""
    from limner.judging.inspect import inspect as look_at
    from limner.judging.inspect import write_outputs

    size = (values["width"], values["height"]) if values.get("width") and values.get("height") else None
    with heard(teller.progress):
        found = look_at(values["data"], size=size)
    write_outputs(found, Path(values["sheet"]), None)
    result = found.values()
    result["left_out"] = len(found.left_out)
    for name in ("unreadable", "exact_copies", "near_copies", "turned_copies", "nearly_uniform", "outliers"):
        result[f"{name}_count"] = len(result[name])
        result[name] = result[name][:NAMED]
    result["exact_copies"], result["near_copies"] = (
        [group[:12] for group in result[name]] for name in ("exact_copies", "near_copies")
    )
    result["sizes_count"], result["sizes"] = len(result["sizes"]), result["sizes"][:20]
    result["classes_count"] = len(result["classes"])
    result["classes"] = dict(list(result["classes"].items())[:NAMED])
    result["words"] = found.describe()
    return result


def estimate(values: Mapping[str, Any], teller: Teller) -> dict[str, Any]:
    """What a training would be, as ``limner train --dry-run`` says it."""
    from limner.recipe import Recipe
    from limner.training.display import Quiet
    from limner.training.plan import plan

    class Told(Quiet):
        def preparing(self, done: int, total: int) -> None:
            teller.progress(done, total, "pictures prepared")

    teller.say({"progress": [0, 0, "measuring"]})
    found = plan(values["data"], Recipe.from_values(values["recipe"]), display=Told())
    result = found.values()
    result["data"] = {
        key: result["data"].get(key) for key in ("location", "count", "skipped_count", "held_out", "image")
    }
    result["words"] = found.describe().partition("\n\n")[0]
    return result


def export(values: Mapping[str, Any], teller: Teller) -> dict[str, Any]:
    """A snapshot as a folder that the page's explorer reads."""
    from limner.studio.folders import write_folder

    return write_folder(values, teller.progress)


KINDS = {"inspect": inspect, "estimate": estimate, "export": export}


def main() -> None:
    """Do what the first argument names."""
    # Whatever a library prints goes elsewhere: standard output is for lines of JSON alone.
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    teller = Teller(stream)
    if hasattr(os, "nice"):
        os.nice(5)  # a training goes first
    try:
        values = json.load(sys.stdin)
        teller.say({"result": KINDS[sys.argv[1]](values, teller)})
    except LimnerError as error:
        teller.say({"error": str(error)[:4000]})
        sys.exit(error.exit_code)
    except MemoryError:
        teller.say({"error": "out of memory; ask for less at a time"})
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if isinstance(error.filename, str) else ""
        teller.say({"error": f"{where}{error.strerror or error}"[:4000]})
        sys.exit(1)
    except Exception as error:
        teller.say({"error": f"a fault of Limner's own ({type(error).__name__}: {error})"[:1000]})
        raise


if __name__ == "__main__":
    main()
