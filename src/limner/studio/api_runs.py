"""What a page may ask about runs, and do to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query, Request, Response

from limner import rundir
from limner.errors import InputError
from limner.rundir import image_number
from limner.studio import models, processes
from limner.studio.curves import curves
from limner.studio.details import compared, detail
from limner.studio.memo import Answer, Memo, as_json, tagged
from limner.studio.places import Missing
from limner.studio.runs import Runs
from limner.studio.snapshots import Snapshots
from limner.studio.thumbnails import thumbnail

Name = Annotated[str, Path(max_length=200, description="A run's name.")]
At = Annotated[str, Path(pattern=r"^(best|[0-9]{1,18})$", description="best, or a number of images.")]
Images = Annotated[int, Path(ge=0, lt=10**18, description="Images seen.")]

INVALID: dict[int | str, dict[str, Any]] = {
    422: {"model": models.Wrong, "description": "The request is not as this document has it."}
}
WRONG: dict[int | str, dict[str, Any]] = {
    400: {"model": models.Wrong, "description": "It cannot be done; one line says why."},
    404: {"model": models.Wrong, "description": "There is no such thing."},
}
PNG: dict[int | str, dict[str, Any]] = {**WRONG, 200: {"content": {"image/png": {}}, "description": "A picture."}}
REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)


def sent(request: Request, answer: Answer, more: dict[str, str] | None = None) -> Response:
    """An answer, or that it is still the one that the page has."""
    headers = {"etag": answer.tag, "cache-control": "no-cache", **(more or {})}
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if answer.tag in known:
        return Response(status_code=304, headers=headers)
    return Response(answer.body, media_type=answer.kind, headers=headers)


def router(runs: Runs, snapshots: Snapshots, memo: Memo) -> APIRouter:
    """The routes of runs."""
    api = APIRouter(prefix="/api", tags=["runs"], responses=INVALID)

    def kept(request: Request, what: str, name: str, compute: Callable[[], Any]) -> Response:
        answer = memo.answer((what, name), runs.signature(name), lambda: as_json(compute()))
        return sent(request, answer)

    @api.get("/runs", response_model=models.RunList)
    def list_runs(request: Request) -> Response:
        """All runs, those at work first."""
        return sent(request, as_json({"runs": runs.all()}))

    @api.get("/runs/{name}", response_model=models.RunDetail, responses=WRONG)
    def read_run(request: Request, name: Name) -> Response:
        """Everything about a run but its curves."""
        return kept(request, "detail", name, lambda: detail(runs, name))

    @api.get("/runs/{name}/curves", response_model=models.Curves, responses=WRONG)
    def read_curves(request: Request, name: Name) -> Response:
        """Losses, rates and figures over images seen, in some hundred points."""
        return kept(request, "curves", name, lambda: curves(runs.history(name)))

    @api.get("/runs/{name}/samples/{images}.png", response_class=Response, responses=PNG)
    def read_sample(request: Request, name: Name, images: Images) -> Response:
        """The grid of samples that was drawn after so many images."""
        found = runs.places.read(name, rundir.SAMPLES, f"{image_number(images)}.png")
        return sent(request, Answer(found.content, '"' + "-".join(map(str, found.stamp)) + '"', "image/png"))

    @api.get("/runs/{name}/thumbnails/{images}.png", response_class=Response, responses=PNG)
    def read_thumbnail(request: Request, name: Name, images: Images) -> Response:
        """The first pictures of a grid, small."""
        found = runs.places.read(name, rundir.SAMPLES, f"{image_number(images)}.png")
        summary = runs.summary(name)
        size = (summary["width"], summary["height"]) if summary["width"] and summary["height"] else None
        key = ("thumbnail", name, images)
        return sent(request, memo.answer(key, (found.stamp, size), lambda: thumbnail(found.content, size)))

    @api.get(
        "/runs/{name}/report",
        response_class=Response,
        responses={**WRONG, 200: {"content": {"text/html": {}}, "description": "The report, in a sandbox."}},
    )
    def read_report(request: Request, name: Name) -> Response:
        """The run's report as its training wrote it, kept apart from the studio by a sandbox."""
        answer = tagged(runs.places.read(name, rundir.REPORT).content, "text/html; charset=utf-8")
        return sent(request, answer, {"content-security-policy": REPORT_POLICY})

    @api.get("/compare", response_model=models.Comparison, responses=WRONG)
    def compare(
        request: Request,
        run: Annotated[list[Annotated[str, Query(max_length=200)]], Query(min_length=2, max_length=8)],
    ) -> Response:
        """In what the recipes of two to eight runs differ."""
        return sent(request, as_json(compared(runs, run)))

    @api.post("/runs/{name}/pause", response_model=models.Acted, responses=WRONG)
    def pause(name: Name) -> dict[str, str]:
        """Suspend a training where it stands (SIGSTOP); it keeps its memory, and uses no processor."""
        processes.pause(runs.places.run(name))
        return {"done": "paused"}

    @api.post("/runs/{name}/continue", response_model=models.Acted, responses=WRONG)
    def go_on(name: Name) -> dict[str, str]:
        """Let a suspended training go on (SIGCONT)."""
        processes.go_on(runs.places.run(name))
        return {"done": "continued"}

    @api.post("/runs/{name}/stop", response_model=models.Acted, responses=WRONG)
    def stop(name: Name) -> dict[str, str]:
        """End a training as Ctrl-C does: it saves, and can be resumed. One that has not begun yet is called off."""
        try:
            path = runs.places.run(name)
        except Missing:
            if runs.launches.find(name) is None:
                raise
            runs.launches.end(name)
            return {"done": "called off"}
        if processes.trainer(path) is None:
            runs.launches.end(name)
            return {"done": "called off"}
        processes.stop(path)
        return {"done": "asked to stop"}

    @api.post("/runs/{name}/resume", response_model=models.Acted, responses=WRONG)
    def resume(name: Name, form: Annotated[models.ResumeForm, Body()] = models.ResumeForm()) -> dict[str, str]:  # noqa: B008
        """Go on with a training as ``limner resume`` does, in a process that outlives the studio."""
        path = runs.places.run(name)
        if processes.trainer(path) is not None:
            raise InputError(f"run {name}: is being trained already")
        given = {key: value for key, value in form.model_dump().items() if value is not None}
        if len(given) > 1:
            raise InputError("resume: give one of epochs, images, minutes")
        lengths = [f"--{key}={value:g}" if key != "images" else f"--{key}={value}" for key, value in given.items()]
        runs.launches.begin(name, "resume", ["resume", str(path), *lengths])
        return {"done": "resumed"}

    @api.delete("/runs/{name}/start", response_model=models.Acted, responses=WRONG)
    def forget(name: Name) -> dict[str, str]:
        """Forget a start that came to nothing. Runs themselves are never removed by the studio."""
        runs.launches.forget(name)
        return {"done": "forgotten"}

    @api.post("/runs/{name}/snapshots/{at}/export", response_model=models.JobNow, responses=WRONG)
    def export(name: Name, at: At) -> dict[str, Any]:
        """Export a snapshot to ONNX for the explorer, in the background."""
        return snapshots.export(name, at).describe()

    @api.get(
        "/runs/{name}/snapshots/{at}/{file:path}",
        response_class=Response,
        responses={**WRONG, 200: {"content": {"application/octet-stream": {}}, "description": "A file."}},
    )
    def read_snapshot(request: Request, name: Name, at: At, file: Annotated[str, Path(max_length=100)]) -> Response:
        """A file of an exported snapshot: limner.json, generator.onnx, samples/N.webp."""
        from starlette.responses import FileResponse

        path = snapshots.file(name, at, tuple(file.split("/")))
        status = path.stat()
        tag = f'"{status.st_ino}-{status.st_size}-{status.st_mtime_ns}"'
        headers = {"etag": tag, "cache-control": "no-cache"}
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        kinds = {".json": "application/json", ".webp": "image/webp", ".png": "image/png"}
        return FileResponse(path, media_type=kinds.get(path.suffix, "application/octet-stream"), headers=headers)

    return api
