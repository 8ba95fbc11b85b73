"""What goes to and comes from a page, as the OpenAPI document has it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

State = Literal["training", "paused", "waiting", "finished", "interrupted", "failed"]
JobState = Literal["waiting", "working", "done", "failed", "cancelled"]
Setting = (
    bool
    | int
    | float
    | Annotated[str, Field(max_length=4000)]
    | Annotated[list[int | float | Annotated[str, Field(max_length=400)]], Field(max_length=10_000)]
    | None
)


class Given(BaseModel):
    """What a page sends: nothing but what is known."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class TrainingForm(Given):
    """A training that is asked for."""

    data: Annotated[str, Field(min_length=1, max_length=4000)]
    """A path in one of the data folders, or procedural:initials, procedural:maps."""
    recipe: Annotated[str, Field(max_length=300)]
    """A shipped name, or run:NAME for the recipe of a run."""
    settings: Annotated[
        dict[Annotated[str, Field(pattern=r"^[a-z_]+\.[a-z0-9_]+$")], Setting], Field(max_length=200)
    ] = {}
    """Fields set otherwise, by section.field; null takes one out."""
    classes: bool = False
    """Learn the classes that the collection has."""
    name: Annotated[str, Field(max_length=200)] = ""
    """The run's name; by default the collection's."""


class ResumeForm(Given):
    """A training to go on with; with one of the three, for longer."""

    epochs: Annotated[float, Field(gt=0, le=10**7)] | None = None
    images: Annotated[int, Field(ge=1, le=2**40)] | None = None
    minutes: Annotated[float, Field(gt=0, le=10**6)] | None = None


class InspectForm(Given):
    """A collection to look at."""

    data: Annotated[str, Field(min_length=1, max_length=4000)]
    """A path in one of the data folders, or procedural:initials, procedural:maps."""
    width: Annotated[int, Field(ge=8, le=1024)] | None = None
    height: Annotated[int, Field(ge=8, le=1024)] | None = None


class Problem(BaseModel):
    """What is wrong with a field."""

    field: str
    message: str


class Wrong(BaseModel):
    """Why something was not done."""

    detail: str
    problems: list[Problem] = []


class FigureNow(BaseModel):
    """A measured number with its 95 % interval, and how many images it is from."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    real: int
    generated: int


class RunSummary(BaseModel):
    """A run in a list. ``share`` of the training is done; ``seconds`` it has run, ``remaining`` are left at this pace."""

    name: str
    state: State
    reason: str
    elsewhere: str
    images: int
    total: int | None
    share: float | None
    epoch: float | None
    seconds: float | None
    remaining: float | None
    rate: float | None
    recipe: str
    family: str
    data: str
    count: int | None
    width: int | None
    height: int | None
    channels: int | None
    classes: list[str]
    figure: FigureNow | None
    best: int | None
    grid: int | None
    grids: int
    snapshots: int
    report: bool
    changed: float


class RunList(BaseModel):
    """All runs, those at work first."""

    runs: list[RunSummary]


class Remark(BaseModel):
    """One thing that a verdict says."""

    topic: str
    text: str


class VerdictNow(BaseModel):
    """What a training has come to."""

    headline: str
    tone: str
    remarks: list[Remark]


class Event(BaseModel):
    """Something that happened to a run."""

    event: str
    time: str
    images: int
    severity: str
    text: str


class Change(BaseModel):
    """A field that a run has otherwise than the shipped recipe."""

    field: str
    shipped: str
    here: str
    why: str


class Changes(BaseModel):
    """What a run's recipe changes of the shipped one."""

    recipe: str
    summary: str
    differences: list[Change]


class RunDetail(RunSummary):
    """Everything about a run but its curves. ``grid_shape`` is a picture's width and height, and pictures in a grid."""

    verdict: VerdictNow | None
    events: list[Event]
    started: str
    grids_at: list[int]
    snapshots_at: list[int]
    has_best: bool
    grid_shape: list[int] | None
    changes: Changes | None
    settings: dict[str, Any]
    location: str
    skipped: int
    environment: dict[str, str]
    output: str
    command: list[str]
    minutes_count: bool


class Column(BaseModel):
    """A curve of the log; a band where each point is of several lines."""

    label: str
    value: list[float | None]
    low: list[float | None] | None = None
    high: list[float | None] | None = None


class LogCurves(BaseModel):
    """Curves of the log over the same places."""

    images: list[int]
    lines: int
    columns: dict[str, Column]


class FigureCurve(BaseModel):
    """A figure over the evaluations, with its intervals."""

    name: str
    label: str
    better: str
    help: str
    images: list[int]
    value: list[float | None]
    low: list[float | None]
    high: list[float | None]


class Curves(BaseModel):
    """Everything that is drawn over images seen."""

    log: LogCurves
    figures: list[FigureCurve]


class Difference(BaseModel):
    """A field in which runs differ; null where it is not used."""

    field: str
    values: list[str | None]


class Comparison(BaseModel):
    """In what the recipes of runs differ, and in how many fields they do not."""

    runs: list[str]
    differences: list[Difference]
    same: int


class Checked(BaseModel):
    """What is wrong with a form, and what its recipe comes to."""

    problems: list[Problem]
    recipe: dict[str, Any] | None


class Started(BaseModel):
    """The run that was started."""

    name: str


class Acted(BaseModel):
    """What was done."""

    done: str


class JobNow(BaseModel):
    """Work in the background. ``progress`` is pieces done, pieces in all, and what they are."""

    id: str
    kind: Literal["inspect", "estimate", "export"]
    state: JobState
    progress: tuple[int, int, str] | None
    error: str
    result: dict[str, Any] | None


class Folder(BaseModel):
    """What lies in a folder of the data."""

    path: str
    parent: str | None
    folders: list[str]
    files: list[str]
    pictures: int


class About(BaseModel):
    """What this studio is."""

    limner: str
    runs: str
    data: list[str]
    drawn: list[str]
    can_pause: bool
    cores: int
