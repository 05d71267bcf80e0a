"""What the pages say, from a pattern's whole way to canary: the numbers, their intervals, and what may be done."""

import dataclasses
import json
import os
from functools import partial
from typing import Any

import pytest
from dashboard_site import RUN, busy, site_of

from tutelage.proxy.machine import apply
from tutelage.proxy.metrics_workers import Noticeboard, Report
from tutelage.proxy.pattern_lines import ORDERS, pattern_lines
from tutelage.proxy.states import PatternState, StudentRegistered
from tutelage.proxy.student_runs import HISTORY
from tutelage.proxy.views_actions import actions_of
from tutelage.proxy.views_changes import change_of, change_view
from tutelage.proxy.views_evidence import MOST_AT_ONCE, EvidenceBook
from tutelage.proxy.views_health import health_page
from tutelage.proxy.views_messages import LONGEST_TEXT, message_view
from tutelage.proxy.views_overview import overview_page
from tutelage.proxy.views_pairs import pair_page, pairs_page
from tutelage.proxy.views_pattern import pattern_page
from tutelage.proxy.views_patterns import patterns_page
from tutelage.proxy.views_queries import places_of, pulses, route_times, sides
from tutelage.proxy.views_run import run_page
from tutelage.proxy.views_student import student_page
from tutelage.proxy.views_students import students_page
from tutelage.proxy.views_trajectories import trajectories_page, trajectory_page
from tutelage.traffic.errors import BadInput, UnknownName
from tutelage.traffic.run_lock import LOCK
from tutelage.traffic.students import LINEAGE


def share_of(world: Any) -> str:
    return f"{world.plane.keeper.board.state(world.pattern).share:.0%}"


def test_the_overview_counts_and_weighs(control_world: Any) -> None:
    busy(control_world)
    page = overview_page(site_of(control_world))
    tiles = {tile.label: (tile.value, tile.note) for tile in page.tiles}
    assert tiles["Calls"] == ("150", "in the last hour")
    assert tiles["Answered by a student"] == ("13%", "20 of 150 in the last hour")
    assert page.risk.figure == "0.000"
    assert page.risk.interval.endswith("n = 20")
    assert page.promoted.startswith("2027-01-15")
    assert {line.route: line.calls for line in page.routes} == {"student": "20", "teacher": "130"}
    assert page.chart_text == "Calls in the last hour by route: 130 teacher, 20 student, 0 not answered."
    with pytest.raises(BadInput, match="span"):
        overview_page(site_of(control_world), "1y")


def test_money_is_unknown_without_a_price_and_never_zero(control_world: Any) -> None:
    control_world.options = dataclasses.replace(control_world.options, prices={})
    busy(control_world)
    page = overview_page(site_of(control_world))
    tile = next(tile for tile in page.tiles if tile.label == "Money saved today")
    assert tile.value == "unknown"
    assert "teacher-1-big" in tile.note


def test_risk_never_stands_without_n_and_interval(control_world: Any) -> None:
    busy(control_world)
    (row,) = patterns_page(site_of(control_world)).rows
    assert (row.state, row.state_text) == ("canary", f"canary {share_of(control_world)}")
    assert row.risk.figure == "0.000"
    assert "n = 20 · limit 0.1" in row.risk.interval
    assert row.risk.bar is not None
    assert row.risk.bar.limit == 25.0
    assert row.calls_by_route == "130 teacher · 20 student"
    assert row.change.startswith(("shadow → canary: proven in shadow", "canary → canary: the next share is safe"))


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_gives_all_patterns(control_world: Any, order: str) -> None:
    busy(control_world)
    assert len(pattern_lines(site_of(control_world), order)) == 1


def test_the_pattern_page_says_what_is_missing(control_world: Any) -> None:
    busy(control_world)
    site = site_of(control_world)
    page = pattern_page(site, EvidenceBook(site.store), control_world.pattern)
    assert page.sessions.startswith("20 of about ")
    assert page.sessions.endswith("0 disagreements")
    assert "audited sessions" in page.missing
    assert [plot.name for plot in page.plots] == ["Evidence in shadow", "Evidence in canary", "Guard"]
    assert [action.name for action in page.actions] == ["promote", "share", "hold", "demote", "off"]
    assert page.actions[0].force, "its evidence does not go that far yet"
    given = round(100 * site.board.state(control_world.pattern).share)
    assert page.actions[1].share == given == page.actions[1].allowed == 80
    assert "beyond its evidence" not in page.actions[1].text
    assert {side.route: side.calls for side in page.sides} == {"teacher": "130", "student": "20"}
    assert [change.text for change in page.changes][-2:] == ["shadow → canary 10%", "observe → shadow"]
    assert page.state_text == f"canary {share_of(control_world)}"
    assert page.changes[0].facts
    assert [line.text for line in page.skeleton] == ["You work at a parcel desk.", "Mark parcels with the tool."]
    with pytest.raises(UnknownName):
        pattern_page(site, EvidenceBook(site.store), "p_none")


def test_a_share_beyond_the_evidence_is_announced() -> None:
    state = apply(PatternState(), StudentRegistered(version="s@1")).state
    (share,) = (action for action in actions_of(state) if action.name == "share")
    assert (share.share, share.allowed, share.danger) == (0, 0, True)
    assert "Above 0% it goes beyond its evidence" in share.text


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (PatternState(), ["off"]),
        (PatternState(state="off", resume="live", student="s@1"), ["resume"]),
        (PatternState(state="shadow", student="s@1"), ["promote", "share", "hold", "demote", "off"]),
        (PatternState(state="shadow", student="s@1", held=True), ["promote", "share", "resume", "demote", "off"]),
        (PatternState(state="live", student="s@1"), ["share", "demote", "off"]),
        (PatternState(state="blocked", student="s@1"), ["resume", "off"]),
        (PatternState(state="quarantined", student="s@1"), ["resume", "off"]),
    ],
)
def test_what_may_be_done_in_each_state(state: PatternState, words: list[str]) -> None:
    assert [action.name for action in actions_of(state)] == words


def test_the_drawn_evidence_is_that_of_the_board(control_world: Any) -> None:
    busy(control_world)
    site, book = site_of(control_world), EvidenceBook(control_world.plane.store)
    series = book.series(control_world.pattern, control_world.version)
    state = site.board.state(control_world.pattern)
    assert state.shadow is not None
    assert state.canary is not None
    assert series.shadow[-1] == state.shadow.log_wealth
    assert len(series.shadow) == state.shadow.n + 1
    assert series.canary[-1] == state.canary.log_wealth
    control_world.play(5, route="student", student=control_world.version)
    control_world.label("audit", loss=1.0)
    control_world.idle()
    again = book.series(control_world.pattern, control_world.version)
    assert len(again.canary) == len(series.canary) + 5, "only the new events are folded"
    assert again.canary[: len(series.canary)] == series.canary


def test_no_page_waits_for_the_evidence_of_thousands_of_sessions(control_world: Any) -> None:
    busy(control_world)
    site, store = site_of(control_world), control_world.plane.store
    pattern, version = control_world.pattern, control_world.version
    assert pattern_page(site, EvidenceBook(store), pattern).plots
    session = json.dumps({"event": "session", "at": 1.0, "kind": "canary", "session": "s", "loss": 0.0, "calls": 1})
    store.execute(
        "INSERT INTO route_events SELECT (SELECT max(seq) FROM route_events) + 1 + n, 1.0, ?, ?, 'session', ?, '' "
        f"FROM range({MOST_AT_ONCE}) r(n)",
        [pattern, version, session],
    )
    book = EvidenceBook(store)
    assert book.far_behind(pattern, version)
    assert pattern_page(site, book, pattern).plots == ()
    book.series(pattern, version)
    assert not book.far_behind(pattern, version)
    assert pattern_page(site, book, pattern).plots


def test_a_changed_label_redraws_the_evidence(control_world: Any) -> None:
    busy(control_world)
    site, book = site_of(control_world), EvidenceBook(control_world.plane.store)
    before = book.series(control_world.pattern, control_world.version).canary
    pair = next(row for row in pairs_page(site).rows if row.kind == "audit")
    pair_id = pair.href.partition("/pairs/")[2].partition("?")[0].replace("%3A", ":").replace("%40", "@")
    from tutelage.proxy.verdicts import person_says, read_key

    person_says(site.store, read_key(pair_id), "reject", "ada", "wrong", control_world.now)
    control_world.idle()
    after = book.series(control_world.pattern, control_world.version)
    state = site.board.state(control_world.pattern)
    assert state.canary is not None
    assert after.canary[-1] == state.canary.log_wealth != before[-1]
    assert len(after.canary) == len(before)


def test_pairs_lead_to_each_other(control_world: Any) -> None:
    busy(control_world)
    site = site_of(control_world)
    page = pairs_page(site, limit=2)
    assert len(page.rows) == 2
    assert page.older.startswith("/pairs?")
    ids = [
        row[0] for row in site.store.rows('SELECT call_id FROM comparisons ORDER BY "at" DESC, call_id DESC LIMIT 3')
    ]
    keys = [f"{one}:audit:{control_world.version}" for one in ids]
    first, second = pair_page(site, keys[0]), pair_page(site, keys[1])
    assert first.newer == ""
    assert str(ids[1]) in first.older
    assert str(ids[0]) in second.newer
    assert str(ids[2]) in second.older
    assert second.diff[0].tone == "same"
    assert [message.role for message in second.input] == ["system", "user"]


def test_a_long_text_is_cut_and_odd_messages_are_shown() -> None:
    assert message_view({"role": "user", "content": "x" * (LONGEST_TEXT + 1)}).cut
    assert message_view({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}).text
    assert message_view({"tool_calls": ["odd"]}).calls == ()
    assert message_view({"tool_calls": [{"type": "custom"}]}).calls == ('{"type":"custom"}',)


def test_a_run_step_by_step(control_world: Any) -> None:
    busy(control_world)
    site = site_of(control_world)
    run = site.store.value("SELECT trajectory_id FROM calls WHERE route = 'student' LIMIT 1")
    folder = site.students.path(control_world.version)
    (folder / LINEAGE).write_text(f'{{"row": "r", "trajectory_id": "{run}", "call_ids": []}}\n')
    page = trajectory_page(site, run)
    assert [step.message.role for step in page.steps] == ["system", "user", "assistant"]
    assert [step.call.route for step in page.steps if step.call] == ["student"]
    assert page.others == ()
    assert [link.text for link in page.taught] == [control_world.version]
    call = site.store.value("SELECT call_id FROM calls WHERE trajectory_id = ?", [run])
    assert places_of(site.store, [call]) == {call: 2}
    listed = trajectories_page(site)
    assert len(listed.rows) == 50
    assert listed.older.startswith("/trajectories?")


def test_students_and_runs(control_world: Any) -> None:
    busy(control_world)
    site = site_of(control_world)
    page = students_page(site)
    assert [student.version for student in page.students] == [control_world.version]
    assert page.students[0].serves[0].text.endswith(f"canary {share_of(control_world)}")
    assert (page.runs[0].run_id, page.runs[0].tone, page.runs[0].percent) == (RUN, "running", 50)
    run = run_page(site, RUN)
    assert run.plot is not None
    assert run.plot_text == "loss 2.000 at the first step, 1.000 at the last of 2"
    with pytest.raises(UnknownName):
        run_page(site, "../students")
    # A lock that nobody holds: its process has died without a word.
    (control_world.data.runs / RUN / LOCK).touch()
    killed = students_page(site).runs[0]
    assert (killed.stage, killed.tone, killed.percent) == ("killed", "failed", None)


def test_what_was_trained_by_itself(control_world: Any) -> None:
    busy(control_world)
    site = site_of(control_world)
    begun = {"at": control_world.now - 7_200, "agent_id": "a_9", "reason": "first: 90 successful sessions"}
    ended = begun | {"ended_at": control_world.now - 3_600, "outcome": "registered", "version": control_world.version}
    running = begun | {"at": control_world.now - 60, "reason": "drift"}
    lines = [json.dumps(one) for one in (begun, ended, running)]
    (control_world.data.runs / HISTORY).write_text("\n".join([*lines, "{half a li"]))
    newest, oldest = students_page(site).history
    assert (newest.outcome, newest.reason, newest.version) == ("running", "drift", None)
    assert (oldest.outcome, oldest.agent) == ("registered", "a_9")
    assert oldest.version is not None
    assert oldest.version.text == control_world.version


def test_two_versions_beside_each_other(control_world: Any) -> None:
    busy(control_world)
    control_world.add_student("parcels@aaaaaaaaaaaa")
    site = site_of(control_world)
    page = student_page(site, "parcels@aaaaaaaaaaaa", control_world.version)
    assert page.beside == control_world.version
    assert [row.name for row in page.data if row.differs] == ["newest call in the data"]
    assert page.previous is not None
    assert page.previous.text == control_world.version


def test_health_tells_who_answers(control_world: Any) -> None:
    busy(control_world)
    site = site_of(control_world)
    said = {"status": "impaired", "journal": {"lost": 2, "dropped": 1, "queue_bytes": 10, "behind": True}}
    said["breakers"] = {"default": {"state": "open"}, "student": {"state": "closed"}}
    page = health_page(site, lambda url: said if "8400" in url else None)
    plane, student, control = page.processes
    facts = {item.name: (item.value, item.tone) for item in plane.facts}
    assert (plane.state, plane.tone) == ("impaired", "warn")
    assert facts["Records lost or dropped"] == ("3", "bad")
    assert facts["Breakers"] == ("open: default", "bad")
    assert student.facts[0].tone == "warn", "a student exists, and its server does not answer"
    assert control.state == "answers"


def _says(said: dict[str, Any] | None, _url: str) -> dict[str, Any] | None:
    return said


def test_losses_are_those_of_all_workers(control_world: Any) -> None:
    site = site_of(control_world)
    reports = (
        Report(at=1.0, pid=os.getpid(), appended=90, lost=2),
        Report(at=1.0, pid=2**22 + 1, appended=7, dropped=1),
    )
    boards = [Noticeboard(site.data.workers) for _ in (*reports, None)]
    for board, report in zip(boards, (*reports, Report(at=1.0, pid=3, unsynced=5)), strict=True):
        board.show(report)
        board.close()
    answers: list[dict[str, Any] | None] = [{"status": "ok", "journal": {"lost": 0}}, None]
    for said in answers:
        plane = health_page(site, partial(_says, said)).processes[0]
        facts = {item.name: (item.value, item.tone) for item in plane.facts}
        assert facts["Records lost or dropped"] == ("3 in 3 workers", "bad")
        assert facts["Records not on the disk for sure"] == ("5 in 3 workers", "warn")
        assert facts[f"Worker {os.getpid()}"] == ("2 lost, 0 dropped of 90 records", "bad")
        assert facts[f"Worker {2**22 + 1}, gone"] == ("0 lost, 1 dropped of 7 records", "bad")


def test_the_queries_of_the_pages(control_world: Any) -> None:
    busy(control_world)
    store = control_world.plane.store
    assert {row.route: row.calls for row in route_times(store, 0.0)} == {"student": 20, "teacher": 130}
    assert route_times(store, control_world.now + 1) == []
    assert [row.route for row in sides(store, control_world.pattern, 0.0)] == ["teacher", "student"]
    start = control_world.now - 3_600.0
    found = pulses(store, start, 600.0, 6)[control_world.pattern]
    assert sum(found.counts) == 150
    assert found.teacher_ms == 0.0


def test_what_changed_in_words() -> None:
    row: dict[str, Any] = {"seq": 1, "at": 60.0, "pattern_id": "", "kind": "switch", "before": "on", "after": "off"}
    view = change_view(change_of({**row, "reason": "an incident", "actor": "ada", "student": ""}), {})
    assert (view.pattern, view.text, view.tone, view.reason) == ("everything", "on → off", "bad", "an incident")
    moved = {"kind": "threshold", "before": "live", "after": "live", "reason": "tightened:guard", "actor": "guard"}
    view = change_view(change_of({**row, **moved, "student": "a@1"}), {})
    assert view.reason == "back to the stricter threshold at once: the guard raised the alarm"
