"""What a page may ask to have done: collections looked at, trainings estimated and started."""

from __future__ import annotations

import os
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from limner.errors import InputError
from limner.studio import forms, models, processes
from limner.studio.api_runs import INVALID, WRONG, sent
from limner.studio.forms import Forms
from limner.studio.jobs import Job, Jobs
from limner.studio.memo import Answer, as_json, tagged
from limner.studio.places import DRAWN, Missing, Places
from limner.version import __version__

Number = Annotated[str, Path(max_length=40, description="A job's id.")]
BUSY: dict[int | str, dict[str, Any]] = {
    **WRONG,
    429: {"model": models.Wrong, "description": "Too much is waiting already."},
}


def router(places: Places, the_forms: Forms, jobs: Jobs) -> APIRouter:
    """The routes of work."""
    api = APIRouter(prefix="/api", tags=["work"], responses=INVALID)
    recipes: list[Answer] = []

    @api.get("/about", response_model=models.About)
    def about(request: Request) -> Response:
        """What this studio is and where it looks."""
        found = {
            "limner": __version__,
            "runs": str(places.runs),
            "data": [str(folder) for folder in places.data],
            "drawn": list(DRAWN),
            "can_pause": processes.CAN_PAUSE,
            "cores": os.cpu_count() or 1,
        }
        return sent(request, as_json(found))

    @api.get("/recipes", response_model=dict[str, Any])
    def read_recipes(request: Request) -> Response:
        """The shipped recipes, and the JSON schema that says what each field takes."""
        if not recipes:
            recipes.append(as_json(forms.shipped()))
        return sent(request, recipes[0])

    @api.get("/folders", response_model=models.Folder, responses=WRONG)
    def read_folder(request: Request, path: Annotated[str, Query(max_length=4000)] = "") -> Response:
        """What lies in a folder of the data: the first data folder without a path."""
        return sent(request, as_json(places.children(path or str(places.data[0]))))

    @api.post("/check", response_model=models.Checked)
    def check(form: models.TrainingForm) -> dict[str, Any]:
        """What is wrong with a form, field by field, and what its recipe comes to."""
        problems, recipe = the_forms.check(form)
        return {"problems": problems, "recipe": None if recipe is None else forms.described(recipe)}

    @api.post("/estimates", response_model=models.JobNow, responses=BUSY)
    def estimate(form: models.TrainingForm) -> dict[str, Any]:
        """Measure what a training would take, as ``limner train --dry-run`` does, in the background."""
        recipe = the_forms.recipe(form)
        values = {"data": places.collection(form.data), "recipe": recipe.values()}
        return jobs.begin(Job("estimate", values)).describe()

    @api.post("/trainings", response_model=models.Started, responses=BUSY, status_code=201)
    def start(form: models.TrainingForm) -> dict[str, str]:
        """Start a training as ``limner train`` does, in a process that outlives the studio."""
        return {"name": the_forms.start(form)}

    @api.post("/inspections", response_model=models.JobNow, responses=BUSY)
    def inspect(form: models.InspectForm) -> dict[str, Any]:
        """Look at a collection as ``limner inspect`` does, in the background."""
        if (form.width is None) != (form.height is None):
            raise InputError("inspect: give both width and height, or none")
        job = Job("inspect", {})
        job.values = {
            "data": places.collection(form.data),
            "width": form.width,
            "height": form.height,
            "sheet": str(jobs.folder / f"{job.id}.png"),
        }
        return jobs.begin(job).describe()

    @api.get("/jobs/{number}", response_model=models.JobNow, responses=WRONG)
    def read_job(request: Request, number: Number) -> Response:
        """How far a job is, and what has come of it."""
        return sent(request, as_json(_found(jobs, number).describe()))

    @api.get(
        "/jobs/{number}/sheet.png",
        response_class=Response,
        responses={**WRONG, 200: {"content": {"image/png": {}}, "description": "The contact sheet."}},
    )
    def read_sheet(request: Request, number: Number) -> Response:
        """The contact sheet of an inspection."""
        job = _found(jobs, number)
        try:
            return sent(request, tagged((jobs.folder / f"{job.id}.png").read_bytes(), "image/png"))
        except OSError:
            raise Missing("job: it has no sheet") from None

    @api.delete("/jobs/{number}", response_model=models.Acted, responses=WRONG)
    def cancel(number: Number) -> dict[str, str]:
        """End a job."""
        if not jobs.cancel(number):
            raise Missing("job: there is none of that number")
        return {"done": "cancelled"}

    return api


def _found(jobs: Jobs, number: str) -> Job:
    job = jobs.find(number)
    if job is None:
        raise Missing("job: there is none of that number")
    return job
