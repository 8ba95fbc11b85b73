"""Hostile recipes and lists: drawn by hypothesis from what they are made of, and shipped ones damaged."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import tomli_w
from fuzz_images import beside_good, damaged
from fuzz_worker import Case, Make
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from limner.recipe import Recipe, names
from limner.recipe.text import field_names

_COUNT = [60]


def drawn(strategy: st.SearchStrategy[Any], count: int, seed: int = 0) -> list[Any]:
    """So many examples of a strategy, always the same."""
    found: list[Any] = []

    @hypothesis.seed(seed)
    @settings(
        max_examples=count,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        deadline=None,
    )
    @given(strategy)
    def collect(value: Any) -> None:
        found.append(value)

    collect()
    return found


_scalars = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.booleans(),
    st.text(max_size=30),
    st.sampled_from(
        ["auto", "dcgan", "fewshot", "\x1b[2J", "a\nb", "x" * 5000, "../..", "os:system", "10" * 3000, 2**62, 1e308, -1]
    ),
)
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
_fields = st.sampled_from(field_names(Recipe)) | st.text(max_size=12)
_json = st.recursive(
    st.none() | _scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
)


@cache
def overrides() -> list[dict[str, Any]]:
    """Fields and values for recipes."""
    return drawn(st.dictionaries(_fields, _values, max_size=5), _COUNT[0])


@cache
def listed() -> list[Any]:
    """JSON for lists: nearly right ones, and anything."""
    names_of = st.lists(st.sampled_from(["good0.png", "good1.png"]) | _scalars, max_size=6) | _json
    nearly = st.fixed_dictionaries(
        {"format": st.sampled_from(["limner list 1", "limner list 2", 1]), "names": names_of},
        optional={
            "location": st.sampled_from(
                ["data", ".", "x.json", "/", "/dev/zero", "\0", "hf:", "~nobody", "procedural:x"]
            )
            | _json,
            "content_hash": st.text(max_size=9) | _json,
            "left_out": _json,
        },
    )
    return drawn(nearly | _json, _COUNT[0])


def draw(count: int) -> None:
    """Draw so many examples of each now, for all processes that are forked later."""
    _COUNT[0] = count
    for made in (overrides, listed):
        made.cache_clear()
        made()


def recipe(chance: random.Random, folder: Path) -> Case:
    """A recipe with odd fields, a damaged one, or a text that is hard on whoever reads it."""
    path = folder / "mine.toml"
    shipped = (Path(Recipe.__module__.replace(".", "/")), chance.choice(names()))[1]
    values = Recipe.load(shipped).values()
    kind = chance.randrange(10)
    what = "drawn"
    if kind < 6:
        for name, value in chance.choice(overrides()).items():
            section, _, field = name.partition(".")
            if field and isinstance(values.get(section), dict):
                values[section][field] = value
            else:
                values[section] = value
        try:
            content = tomli_w.dumps(values).encode("utf-8", "surrogatepass")
        except (TypeError, ValueError, AttributeError):
            content = repr(values).encode("utf-8", "surrogatepass")
    elif kind < 9:
        content, what = damaged(chance, Recipe.load(shipped).to_toml().encode()), "damaged"
    else:
        what, content = chance.choice(HARD)
    path.write_bytes(content)
    call = ["recipes", "show", str(path), "--json"]
    if chance.random() < 0.5:
        data = beside_good(folder, {})
        call = ["train", str(data / "missing"), "--recipe", str(path), "--runs", str(folder / "runs")]
    return Case(call, [folder / "runs"], f"a recipe, {what}")


HARD: list[tuple[str, bytes]] = [
    ("deep lists", b"a = " + b"[" * 100_000 + b"]" * 100_000),
    ("deep tables", b"[" + b".".join([b"a"] * 50_000) + b"]\nb = 1"),
    ("deep keys", b".".join([b"a"] * 20_000) + b" = 1"),
    ("deep inline tables", b"a = " + b"{a = " * 5000 + b"1" + b"}" * 5000),
    ("a long number", b"format = " + b"9" * 100_000),
    ("a long name", b"x" * 200_000 + b" = 1"),
    ("a long name in a section", b"[image]\n" + b"widt" * 40_000 + b" = 1"),
    ("many fields", b"[image]\n" + b"".join(b"x%d = 1\n" % number for number in range(15_000))),
    ("many sections", b"".join(b"[x%d]\n" % number for number in range(15_000))),
    ("too large", b"# " + b"x" * (1 << 24)),
    ("dates", b"format = 1979-05-27T07:32:00Z\n[image]\nwidth = 07:32:00"),
    ("no text", bytes(range(256)) * 10),
    ("of 16 bits", "format = 1".encode("utf-16")),
    ("nothing", b""),
    ("control characters", b'[about]\nsummary = "\\u001b]0;x\\u0007\\u009b2J"\n'),
    ("huge networks", b'[network]\nfamily = "mlp"\n[generator]\nhidden = [65536, 65536]\n[training]\nepochs = 1'),
]


def a_list(chance: random.Random, folder: Path) -> Case:
    """A cleaned list of anything."""
    beside_good(folder, {})
    path = folder / "list.json"
    kind = chance.randrange(10)
    what = "drawn"
    if kind < 6:
        value = chance.choice(listed())
        if isinstance(value, dict) and isinstance(value.get("location"), str) and value["location"].startswith("hf:"):
            value["location"] = "hf:"  # nothing is to be asked of a network
        content = json.dumps(value).encode()
    elif kind < 9:
        good = {"format": "limner list 1", "location": "data", "content_hash": "", "names": ["good0.png", "good1.png"]}
        content, what = json.dumps(good, indent=1).encode(), "damaged"
        content = damaged(chance, content) if chance.random() < 0.8 else content
    else:
        what, content = chance.choice(HARD_LISTS)
    path.write_bytes(content)
    return Case(
        ["prepare", str(path), "16", "3", "crop"] if chance.random() < 0.7 else ["inspect", str(path)],
        what=f"a list, {what}",
    )


_HEAD = b'{"format": "limner list 1", "location": "data", "names": '
HARD_LISTS: list[tuple[str, bytes]] = [
    ("deep", b"[" * 200_000),
    ("deep names", _HEAD + b"[" * 200_000 + b"]" * 200_000 + b"}"),
    ("many empty lists", _HEAD + b"[" + b"[]," * 9_000_000 + b"[]]}"),
    ("many numbers", _HEAD + b"[" + b"1e9," * 9_000_000 + b"1]}"),
    ("a long number", b'{"format": ' + b"9" * 200_000 + b"}"),
    ("not a number", b'{"format": NaN, "location": Infinity}'),
    ("a long name", _HEAD + b'["' + b"x" * 20_000_000 + b'"]}'),
    ("many names", _HEAD + b"[" + b'"good0.png",' * 1_000_000 + b'"x"]}'),
    ("names outside", _HEAD + b'["../secret.png", "/etc/passwd", "good0.png"]}'),
    ("commands to the terminal", _HEAD + b'["\\u001b]0;x\\u0007", "\\u202e", "\\ud800"]}'),
    ("itself", b'{"format": "limner list 1", "location": "list.json", "names": ["a"]}'),
    ("a device", b'{"format": "limner list 1", "location": "/dev/zero", "names": ["a"]}'),
    ("a place of nobody", b'{"format": "limner list 1", "location": "~nobody-at-all/x", "names": ["a"]}'),
    ("an unknown collection", b'{"format": "limner list 1", "location": "procedural:\\u001b[2J", "names": ["a"]}'),
]

GROUPS: dict[str, Make] = {"recipes": recipe, "lists": a_list}
