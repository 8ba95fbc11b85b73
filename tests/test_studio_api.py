"""The studio's API against its own document, and under load: nothing that is sent makes it fail."""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import SkipTest

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import InvalidArgument, Unsatisfiable
from schemathesis import GenerationMode, checks
from starlette.testclient import TestClient

from limner.studio.app import Studio
from report_support import full_run
from studio_support import client, studio

GRIDS = 2000
IN_FLIGHT = 200


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    """A studio with two runs that starts nothing: what it is asked may be anything."""
    place = tmp_path_factory.mktemp("studio")
    (place / "runs").mkdir()
    for name in ("letters", "maps"):
        run = full_run(place / "runs" / name, frames=2).path
        (run / "checkpoints" / "000064000" / "generator.safetensors").write_bytes(b"no weights")
    found = studio(place)
    found.launches.begin = lambda name, kind, arguments, data="": None  # type: ignore[method-assign, assignment, return-value]
    found.jobs.begin = lambda job: job  # type: ignore[method-assign]
    return found


@pytest.fixture
def schema(made: Studio) -> Any:
    """The document, with paths that lead to real runs every other time."""

    async def named(scope: Any, receive: Any, send: Any) -> None:
        """The generated requests are to a name that is none of this machine's."""
        headers = [(name, value) for name, value in scope.get("headers", ()) if name != b"host"]
        await made({**scope, "headers": [*headers, (b"host", b"127.0.0.1:8377")]}, receive, send)

    found = schemathesis.openapi.from_asgi("/api/openapi.json", named)

    @found.hook
    def map_path_parameters(context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
        given = dict(path_parameters or {})
        if "name" in given and len(str(given["name"])) % 2:
            given["name"] = "letters"
        if "images" in given and len(str(given["images"])) % 2:
            given["images"] = 64_000
        return given or path_parameters

    return found


CHECKS = [checks.not_a_server_error, checks.response_schema_conformance, checks.content_type_conformance]
EXAMPLES = 4
"""Requests of each kind for each operation."""


def test_nothing_that_is_sent_makes_it_fail(schema: Any) -> None:
    """Requests as the document has them, and requests that are wrong in every way that schemathesis knows."""
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) > 20
    for operation in operations:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                cases = operation.as_strategy(generation_mode=mode)
            except InvalidArgument:  # nothing about it can be wrong
                continue

            @settings(
                max_examples=EXAMPLES,
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.explicit, Phase.generate],
            )
            @given(case=cases)
            def asked(case: schemathesis.Case) -> None:
                case.call_and_validate(checks=CHECKS)

            with suppress(Unsatisfiable, SkipTest):
                asked()


def test_the_document_says_what_each_operation_does(made: Studio) -> None:
    paths = client(made).get("/api/openapi.json").json()["paths"]
    assert {"/api/runs/{name}/stop", "/api/trainings", "/api/runs/{name}/snapshots/{at}/{file}"} <= set(paths)
    assert len(paths) > 20
    assert all(operation["description"] for path in paths.values() for operation in path.values())


def test_without_a_built_page_it_says_how_to_build_it(made: Studio) -> None:
    answer = client(made).get("/")
    assert answer.status_code == 503 and "make web" in answer.text
    assert client(made).get("/home.json").json() == {"home": "studio", "api": "api/"}


def test_two_hundred_requests_at_once_are_all_answered(tmp_path: Path) -> None:
    """Over a run of two thousand grids. The times are measured by ``benchmarks/studio.py``; here none may fail."""
    import httpx2

    (tmp_path / "runs").mkdir()
    run = full_run(tmp_path / "runs" / "long", frames=1).path
    grid = next((run / "samples").iterdir())
    for place in range(1, GRIDS):
        (run / "samples" / f"{place * 32:09d}.png").hardlink_to(grid)
    made = studio(tmp_path)
    paths = ["/api/runs", "/api/runs/long", "/api/runs/long/curves", "/api/runs/long/samples/64000.png"]

    async def all_at_once() -> list[tuple[int, float]]:
        transport = httpx2.ASGITransport(app=made)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8377", timeout=120) as asking:

            async def one(number: int) -> tuple[int, float]:
                began = time.perf_counter()
                answer = await asking.get(paths[number % len(paths)])
                return answer.status_code, time.perf_counter() - began

            return await asyncio.gather(*map(one, range(IN_FLIGHT)))

    found = asyncio.run(all_at_once())
    assert [status for status, _ in found] == [200] * IN_FLIGHT
    assert statistics.median(seconds for _, seconds in found) < 60  # the threads never wait for one another
    detail = TestClient(made, base_url="http://127.0.0.1:8377").get("/api/runs/long").json()
    assert len(detail["grids_at"]) == GRIDS
