"""The studio as an ASGI application."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from limner.errors import LimnerError
from limner.studio import api_runs, api_work
from limner.studio.forms import FormError, Forms
from limner.studio.guard import Guard
from limner.studio.jobs import Busy, Jobs
from limner.studio.launches import Launches
from limner.studio.memo import Memo
from limner.studio.places import Missing, Places
from limner.studio.runs import Runs
from limner.studio.settings import Settings
from limner.studio.snapshots import Snapshots
from limner.version import __version__

_DESCRIPTION = (
    "What the studio's page asks. Everything is read from run directories, and done as the command line does it."
)


class Studio:
    """The application behind its guard, and the parts that it consists of.

    Args:
        settings: checked.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.places = Places(settings.runs, settings.data)
        self.launches = Launches(self.places)
        self.memo = Memo()
        self.jobs = Jobs()
        self.runs = Runs(self.places, self.launches)
        self.snapshots = Snapshots(self.places, self.jobs)
        self.forms = Forms(self.places, self.launches)
        self.api = self._api()
        self.guarded: ASGIApp = Guard(self.api, settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.guarded(scope, receive, send)

    def _api(self) -> FastAPI:
        @asynccontextmanager
        async def lifespan(app: FastAPI) -> AsyncIterator[None]:
            yield
            self.jobs.close()

        # No documentation pages: theirs load scripts from elsewhere.
        api = FastAPI(
            title="Limner studio",
            version=__version__,
            description=_DESCRIPTION,
            openapi_url="/api/openapi.json",
            docs_url=None,
            redoc_url=None,
            lifespan=lifespan,
        )
        api.include_router(api_runs.router(self.runs, self.snapshots, self.memo))
        api.include_router(api_work.router(self.places, self.forms, self.jobs))

        @api.get("/home.json", include_in_schema=False)
        def home() -> dict[str, str]:
            return {"home": "studio", "api": "api/"}

        api.add_exception_handler(LimnerError, _told)
        api.add_exception_handler(OSError, _told)
        api.add_exception_handler(RequestValidationError, _invalid)
        if self.settings.page is not None:
            api.mount("/", StaticFiles(directory=self.settings.page, html=True), name="page")
        else:
            api.add_api_route("/", _no_page, include_in_schema=False)
        return api


def _no_page() -> Response:
    return PlainTextResponse("The studio's page is not built; 'make web' builds it (it needs Node 20).\n", 503)


def _told(request: Request, error: Exception) -> Response:
    """What went wrong, in one line, with a status that says whose it is."""
    if isinstance(error, FormError):
        problems = [problem.model_dump() for problem in error.problems]
        return JSONResponse({"detail": str(error), "problems": problems}, 400)
    if isinstance(error, LimnerError):
        status = 404 if isinstance(error, Missing) else 429 if isinstance(error, Busy) else 400
        return JSONResponse({"detail": str(error)[:4000], "problems": []}, status)
    words = getattr(error, "strerror", None) or str(error)
    vanished = getattr(error, "errno", None) in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
    return JSONResponse({"detail": f"it cannot be read or written ({words})", "problems": []}, 404 if vanished else 400)


def _invalid(request: Request, error: Exception) -> Response:
    """A request that is not as the document says, in the words of the other errors."""
    assert isinstance(error, RequestValidationError)
    problems: list[dict[str, Any]] = []
    for problem in error.errors()[:50]:
        place = [str(part) for part in problem["loc"] if part not in ("body", "query", "path")]
        # The parts of a union are of no interest to whoever sent it.
        field = place[1] if place[:1] == ["settings"] and len(place) > 1 else ".".join(place[:1])
        problems.append({"field": field or "request", "message": str(problem["msg"])})
    return JSONResponse({"detail": "the request is not as it should be", "problems": problems}, 422)
