"""One distillation run: where it is, its loss as it falls, and what it said on the way."""

from dataclasses import dataclass
from urllib.parse import quote

from .chart import Plot, linear_plot
from .figures import duration, moment
from .student_runs import story_of
from .views import Site
from .views_trajectories import Link


@dataclass(frozen=True)
class EventLine:
    """One word of the run."""

    at: str
    stage: str
    text: str


@dataclass(frozen=True)
class RunPage:
    """Everything on the page."""

    run_id: str
    stage: str
    tone: str
    """`running`, `done` or `failed`."""
    percent: int | None
    message: str
    took: str
    version: Link | None
    plot: Plot | None
    plot_text: str
    events: tuple[EventLine, ...]
    query: str


def run_page(site: Site, run_id: str) -> RunPage:
    """The page as of now. Raises UnknownName."""
    story = story_of(site.data.runs, run_id)
    last = story.events[-1] if story.events else None
    stage = last.stage if last else "starting"
    tone = {"finished": "done", "failed": "failed"}.get(stage, "running")
    losses, version = story.losses, str(story.report.get("version", ""))
    text = f"loss {losses[0]:.3f} at the first step, {losses[-1]:.3f} at the last of {len(losses):,}" if losses else ""
    words = [event for event in story.events if event.loss is None and event.message]
    return RunPage(
        run_id=run_id,
        stage=stage,
        tone=tone,
        percent=round(100 * last.fraction) if last and tone == "running" else None,
        message=last.message if last else "",
        took=duration(story.events[-1].at - story.events[0].at) if story.events else "",
        version=Link(f"/students/{quote(version, safe='')}", version) if version else None,
        plot=linear_plot(losses, "steps", f"Training {text}.") if len(losses) > 1 else None,
        plot_text=text,
        events=tuple(EventLine(moment(one.at), one.stage, one.message) for one in words[-40:]),
        query=f"run={quote(run_id)}",
    )
