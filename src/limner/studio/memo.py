"""Answers that are kept until what they were computed from changes."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

MOST_BYTES = 96 << 20


@dataclass(frozen=True)
class Answer:
    """A body with its tag: the tag is another one when the body is."""

    body: bytes
    tag: str
    kind: str = "application/json"


class Memo:
    """Answers by key, each with the signature of what it was made from; the ones longest unused go first.

    Of several requests for the same answer at the same time one computes it, and the others wait for it.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most, self._held = most_bytes, 0
        self._kept: OrderedDict[Hashable, tuple[Hashable, Answer]] = OrderedDict()
        self._lock = threading.Lock()
        self._busy: dict[Hashable, threading.Lock] = {}
        self.computed = 0
        """How many answers were computed, not found."""

    def answer(self, key: Hashable, signature: Hashable, compute: Callable[[], Answer]) -> Answer:
        """The answer kept under a key if it has the signature, or else a new one."""
        found = self._find(key, signature)
        if found is not None:
            return found
        with self._lock:
            mine = self._busy.setdefault(key, threading.Lock())
        try:
            with mine:
                found = self._find(key, signature)
                if found is not None:
                    return found
                made = compute()
                self._keep(key, signature, made)
                return made
        finally:
            with self._lock:
                self._busy.pop(key, None)

    def _find(self, key: Hashable, signature: Hashable) -> Answer | None:
        with self._lock:
            kept = self._kept.get(key)
            if kept is None or kept[0] != signature:
                return None
            self._kept.move_to_end(key)
            return kept[1]

    def _keep(self, key: Hashable, signature: Hashable, made: Answer) -> None:
        with self._lock:
            self.computed += 1
            before = self._kept.pop(key, None)
            self._held += len(made.body) - (len(before[1].body) if before else 0)
            self._kept[key] = (signature, made)
            while self._held > self._most and len(self._kept) > 1:
                _, (_, gone) = self._kept.popitem(last=False)
                self._held -= len(gone.body)


def as_json(content: Any) -> Answer:
    """An object as JSON."""
    return tagged(json.dumps(content, allow_nan=False, separators=(",", ":")).encode())


def tagged(body: bytes, kind: str = "application/json") -> Answer:
    """Bytes with their tag."""
    return Answer(body, f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"', kind)
