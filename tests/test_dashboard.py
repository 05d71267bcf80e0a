"""Pages as HTML: templates use the documented payloads, and all of them; nothing of the traffic gets through raw."""

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from dashboard_site import RUN, busy, site_of

from tutelage.proxy import (
    chart,
    dashboard,
    figures,
    options,
    scrub_preview,
    step_drawing,
    views,
    views_actions,
    views_changes,
    views_evidence,
    views_examination,
    views_health,
    views_messages,
    views_overview,
    views_pairs,
    views_pattern,
    views_patterns,
    views_run,
    views_student,
    views_students,
    views_trajectories,
)
from tutelage.proxy.operators import Wish
from tutelage.proxy.pages import Pages

TEMPLATES = Path(dashboard.__file__).parent / "templates"
PAYLOADS: dict[str, dict[str, type]] = {
    "overview.html": {"page": views_overview.OverviewPage, "tile": views_overview.Tile, "choice": views_overview.Choice}
    | {"line": views_overview.RouteLine, "page.chart": chart.Chart, "bar": chart.Bar, "part": chart.Part},
    "patterns.html": {"page": views_patterns.PatternsPage, "row": views_patterns.PatternView}
    | {"heading": views_patterns.Heading},
    "pattern.html": {"page": views_pattern.PatternPage, "action": views_actions.Action, "side": views_pattern.SideLine}
    | {"version": views_pattern.VersionLine, "policy": views_pattern.Policy, "one": views_evidence.EvidencePlot}
    | {"drawing": step_drawing.Drawing, "box": step_drawing.Box, "way": step_drawing.Way},
    "pairs.html": {"page": views_pairs.PairsPage, "option": views_pairs.Option, "row": views_pairs.PairLine},
    "pair.html": {"page": views_pairs.PairPage, "line": views_pairs.DiffView, "verdict": views_pairs.VerdictView},
    "trajectories.html": {"page": views_trajectories.TrajectoriesPage, "row": views_trajectories.RunLine},
    "trajectory.html": {"page": views_trajectories.TrajectoryPage, "step": views_trajectories.StepView}
    | {"call": views_trajectories.CallNote, "link": views_trajectories.Link},
    "scrub.html": {"page": scrub_preview.ScrubPage, "message": scrub_preview.ScrubbedMessage}
    | {"piece": scrub_preview.Piece},
    "students.html": {"page": views_students.StudentsPage, "student": views_students.StudentLine}
    | {"run": views_students.RunLine, "past": views_students.HistoryLine},
    "student.html": {"page": views_student.StudentPage, "row": views_student.Row}
    | {"page.examination": views_examination.ExaminationView, "line": views_examination.Told},
    "run.html": {"page": views_run.RunPage, "event": views_run.EventLine},
    "health.html": {"page": views_health.HealthPage, "process": views_health.ProcessLine}
    | {"group": views_health.SettingsGroup, "setting": options.Setting},
    "parts.html": {"measured": figures.Measured, "bar": figures.RiskBar, "drawn": chart.Plot, "level": chart.Level}
    | {
        "tick": chart.Tick,
        "change": views_changes.ChangeView,
        "fact": views_changes.Fact,
        "examined": views_students.ScoreView,
    }
    | {"item": views_overview.HealthItem, "one": views_messages.MessageView},
    "notices.html": {"notice": views.Notice},
    "frame.html": {"shell": views.Shell},
}
ELSEWHERE = {
    "examined": {"name", "reasons"},  # in the table around it
    "one": {"role"},  # in the page around it
    "shell": {"off", "notices"},  # templates of their own
}


@pytest.mark.parametrize("template", sorted(PAYLOADS))
def test_templates_use_the_documented_payload_and_all_of_it(template: str) -> None:
    text = (TEMPLATES / template).read_text()
    code = " ".join(re.findall(r"\{[{%](.*?)[%}]\}", text))
    for name, payload in PAYLOADS[template].items():
        used = set(re.findall(rf"(?<![\w.\"/]){re.escape(name)}\.(\w+)", code))
        documented = {field.name for field in dataclasses.fields(payload)}
        used |= ELSEWHERE.get(name, set()) & documented
        assert used == documented, (template, name)


def test_every_template_is_covered() -> None:
    plain = {"part.html", "switch.html", "error.html", "login.html"}
    assert {path.name for path in TEMPLATES.glob("*.html")} == set(PAYLOADS) | plain


def everything(world: Any) -> dict[str, str]:
    """The HTML of every page."""
    site = site_of(world)
    pages = Pages(site)
    pair, run = site.store.rows("SELECT call_id, student, kind FROM comparisons LIMIT 1"), site.store
    trajectory = run.value("SELECT trajectory_id FROM trajectories LIMIT 1")
    key = f"{pair[0][0]}:{pair[0][2]}:{pair[0][1]}"
    made: dict[str, Any] = {
        "overview.html": views_overview.overview_page(site),
        "patterns.html": views_patterns.patterns_page(site),
        "pattern.html": views_pattern.pattern_page(site, pages.evidence, world.pattern),
        "pairs.html": views_pairs.pairs_page(site),
        "pair.html": views_pairs.pair_page(site, key),
        "trajectories.html": views_trajectories.trajectories_page(site),
        "trajectory.html": views_trajectories.trajectory_page(site, trajectory),
        "students.html": views_students.students_page(site),
        "student.html": views_student.student_page(site, world.version),
        "run.html": views_run.run_page(site, RUN),
        "health.html": views_health.health_page(site, lambda url: None),
    }
    shell = site.shell("Title", "Overview")
    return {name: dashboard.render(name, shell=shell, page=page) for name, page in made.items()}


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "action")]


def test_nothing_is_loaded_from_elsewhere_and_nothing_is_inline(control_world: Any) -> None:
    busy(control_world)
    for name, html in everything(control_world).items():
        links = _Links()
        links.feed(html)
        assert links.found, name
        assert all(link.startswith(("/", "#")) for link in links.found), name
        assert "style" not in links.tags
        assert links.tags.count("script") == 1
        assert links.tags.count("h1") == 1, name


def test_text_from_the_traffic_is_escaped(control_world: Any) -> None:
    busy(control_world)
    evil = "<script>alert(1)</script>"
    answer = {"role": "assistant", "content": evil}
    control_world.play(3, answer=answer)
    control_world.plane.keeper.operate(control_world.pattern, Wish("off", evil, "<b>bold</b>"))
    pages = everything(control_world)
    assert all(evil not in html and "<b>bold" not in html for html in pages.values())
    assert "&lt;b&gt;bold" in pages["pattern.html"]
    assert "&lt;script&gt;alert" in pages["pattern.html"]


def test_a_part_is_the_page_without_its_frame_and_its_tag_saves_the_rest(control_world: Any) -> None:
    busy(control_world)
    site = site_of(control_world)
    page, shell = views_overview.overview_page(site), site.shell("Overview", "Overview")
    whole = dashboard.respond("overview.html", shell, page, 60.0)
    part = dashboard.respond("overview.html", shell, page, 60.0, part=True)
    assert b"<!doctype html>" in whole.body
    assert b"<!doctype html>" not in part.body
    assert b'id="tiles"' in part.body
    same = dashboard.respond("overview.html", shell, page, 61.0, part=True, seen=part.headers["etag"])
    assert (same.status_code, same.body, same.headers["x-as-of"]) == (304, b"", "1970-01-01 00:01:01")
    other = dashboard.respond("overview.html", shell, page, 61.0, part=True, seen='"another"')
    assert other.status_code == 200
    assert "script-src 'self'" in whole.headers["content-security-policy"]


def test_every_list_that_is_empty_says_what_to_do(control_world: Any) -> None:
    site = site_of(control_world)
    shell = site.shell("Title", "Overview")

    def html(template: str, page: Any) -> str:
        return dashboard.render(template, shell=shell, page=page)

    assert "base_url" in html("overview.html", views_overview.overview_page(site))
    assert "about 30 calls" in html("patterns.html", views_patterns.patterns_page(site))
    assert "once a student exists" in html("pairs.html", views_pairs.pairs_page(site))
    assert "base_url" in html("trajectories.html", views_trajectories.trajectories_page(site))
    assert "tutelage distill run" in html("students.html", views_students.students_page(site))
    assert "tutelage serve" in html("health.html", views_health.health_page(site, lambda url: None))
