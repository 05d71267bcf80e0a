"""Every view in a real browser, over a proxy that has really been used: looked at, measured for access, and clicked.

Screenshots are kept in artefacts/.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import pytest
from dashboard_world import OLD, RUN, VERSION, DashboardWorld, dashboard_world, wait_until

from tutelage.proxy.routes import RouteTable

pytestmark = [pytest.mark.browser, pytest.mark.slow]
CHROMIUM = Path("/usr/bin/chromium")
ARTEFACTS = Path(__file__).parent.parent / "artefacts"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DashboardWorld]:
    if not CHROMIUM.exists():
        pytest.skip(f"needs a browser at {CHROMIUM} (Debian's package 'chromium')")
    with dashboard_world(tmp_path_factory.mktemp("dashboard")) as running:
        yield running


@pytest.fixture(scope="module")
def browser(world: DashboardWorld) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    ARTEFACTS.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--headless=new"]
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield opened
        opened.close()


@pytest.fixture
def page(world: DashboardWorld, browser: Any) -> Iterator[Any]:
    """A new tab; at its end it must have logged no error and asked no other host."""
    problems: list[str] = []
    asked: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(60_000)
    tab = context.new_page()
    tab.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    yield tab
    context.close()
    assert problems == []
    assert asked
    assert [url for url in asked if not url.startswith(world.url)] == []


def views(world: DashboardWorld) -> dict[str, str]:
    pair = world.get("/api/pairs?only=disagree")[0]["pair_id"]
    run = world.get("/api/trajectories")[0]["trajectory_id"]
    return {
        "overview": "/",
        "patterns": "/patterns",
        "pattern": f"/patterns/{world.patterns()[0]}",
        "pairs": "/pairs?only=disagree",
        "pair": f"/pairs/{pair}?only=disagree",
        "trajectories": "/trajectories",
        "trajectory": f"/trajectories/{run}",
        "students": "/students",
        "student": f"/students/{VERSION}?beside={OLD}",
        "run": f"/runs/{RUN}",
        "health": "/health",
    }


SAYS = {
    "overview": ("Answered by a student", "Risk of what students serve", "shadow → canary"),
    "patterns": ("canary", "teacher", "n = "),
    "pattern": ("Evidence in shadow", "sessions,", "Frozen evidence", "set_status"),
    "pairs": ("loss", "by the rules"),
    "pair": ("set_status.status", "another value", "Every word on it"),
    "trajectories": ("3 calls", "success"),
    "trajectory": ("said by", "teacher", "What scrubbing makes of it"),
    "students": (VERSION, "0.920", "0.650 to 0.990 · n = 12 sessions"),
    "student": ("dropped: duplicate", "floor 0.310", "420", "email address"),
    "run": ("finished", "loss 2.480 at the first step"),
    "health": ("data plane", "Records lost or dropped", "command line"),
}


def axe() -> str:
    """The source of axe-core, from the development package that brings it."""
    spec = find_spec("axe_playwright_python")
    assert spec is not None, "axe-playwright-python is missing; run: make dev"
    assert spec.submodule_search_locations is not None
    return (Path(spec.submodule_search_locations[0]) / "axe.min.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_shows_what_happened_and_is_accessible(world: DashboardWorld, page: Any, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    source, found = axe(), {}
    for name, path in views(world).items():
        page.goto(world.url + path)
        if name == "pattern":
            page.get_by_role("img", name="Steps of").wait_for()
        text = page.locator("body").inner_text()
        assert [words for words in SAYS[name] if words not in text] == [], name
        page.evaluate(source)
        report = page.evaluate("rules => axe.run(document, {runOnly: rules})", RULES)
        found[name] = [(one["id"], one["nodes"][0]["html"][:200]) for one in report["violations"]]
        assert len(report["passes"]) > 20, name
        page.screenshot(path=ARTEFACTS / f"{name}-{scheme}.png", full_page=True)
    assert found == {name: [] for name in found}


def test_every_view_fits_a_phone(world: DashboardWorld, page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    for name, path in views(world).items():
        page.goto(world.url + path)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), name
        page.screenshot(path=ARTEFACTS / f"{name}-phone.png", full_page=True)


def test_a_human_verdict_by_keyboard(world: DashboardWorld, page: Any) -> None:
    first, second = (row["pair_id"] for row in world.get("/api/pairs?only=disagree&limit=2"))
    page.goto(f"{world.url}/pairs?only=disagree")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/pairs/{first.replace(':', '%3A').replace('@', '%40')}*")
    page.get_by_label("Note for the verdict").fill("either is fine")
    page.locator("#who").fill("Ada")
    page.locator("h1").click()
    page.keyboard.press("a")
    page.get_by_text("Noted.").wait_for()
    page.locator("#verdicts").get_by_text("either is fine").wait_for()
    page.screenshot(path=ARTEFACTS / "pair-verdict.png", full_page=True)
    shown = world.get(f"/api/pairs/{first}")
    assert (shown["loss"], shown["decided_by"]) == (0.0, "human")
    assert shown["verdicts"][-1]["who"] == "Ada (dashboard)"
    page.keyboard.press("j")
    page.wait_for_url(f"**/pairs/{second.replace(':', '%3A').replace('@', '%40')}*")
    page.keyboard.press("k")
    page.keyboard.press("2")
    page.wait_for_url("**/patterns")


def decide(page: Any, button: str, reason: str) -> None:
    """Press a button, give the reason, confirm."""
    page.get_by_role("button", name=button).first.click()
    page.locator("#ask-reason").fill(reason)
    page.locator("#ask-go").click()
    page.locator("#ask").wait_for(state="hidden")


def test_a_promotion_and_a_demotion_by_clicking(world: DashboardWorld, page: Any) -> None:
    pattern = next(one for one in world.patterns() if world.state(one) == "canary")
    page.goto(f"{world.url}/patterns/{pattern}")
    page.get_by_role("button", name="Promote to live").click()
    page.locator("#ask-go").click()
    assert page.locator("#ask").is_visible(), "a decision needs a reason"
    page.screenshot(path=ARTEFACTS / "pattern-ask.png")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Set share").click()
    page.get_by_label("Share of the sessions, in percent").fill("7")
    page.locator("#ask-reason").fill("carefully first")
    page.locator("#ask-go").click()
    page.locator("#ask").wait_for(state="hidden")
    page.locator("#head").get_by_text("canary 7%").wait_for()
    assert [row["share"] for row in world.get("/api/routes") if row["pattern_id"] == pattern] == [0.07]
    decide(page, "Promote to live", "we want it now")
    page.locator("#head .state-live").wait_for()
    assert world.state(pattern) == "live"
    page.get_by_text("beyond its evidence").first.wait_for()
    decide(page, "Demote", "odd answers")
    page.locator("#head .state-quarantined").wait_for()
    page.locator("#history").get_by_text("odd answers").wait_for()
    table = msgspec.json.decode(world.data.routes.read_bytes(), type=RouteTable)
    assert table.routes[pattern].state == "quarantined"


def test_how_a_tool_is_compared_is_changed_by_clicking(world: DashboardWorld, page: Any) -> None:
    pattern = world.patterns()[0]
    page.goto(f"{world.url}/patterns/{pattern}")
    page.get_by_role("button", name="Change set_status").click()
    page.locator("#tool-text").fill("status")
    page.locator("#tool-reason").fill("a test")
    page.get_by_role("button", name="Change", exact=True).click()
    page.locator("#policies").get_by_text("person").wait_for()
    rule = next(one for one in world.get(f"/api/patterns/{pattern}/tools")["tools"] if one["tool"] == "set_status")
    assert (rule["kind"], rule["free_text"], rule["source"]) == ("write", ["status"], "person")


def test_the_big_switch_by_clicking(world: DashboardWorld, page: Any) -> None:
    page.goto(world.url)
    decide(page, "Turn all off", "an incident")
    page.locator("#notices").get_by_text("an incident").wait_for()
    table = msgspec.json.decode(world.data.routes.read_bytes(), type=RouteTable)
    assert table.off
    decide(page, "Turn on", "it is over")
    page.locator("#notices .notice.bad").wait_for(state="detached")


def test_an_open_page_goes_on_by_itself_and_keeps_what_is_open(world: DashboardWorld, page: Any) -> None:
    pattern = world.patterns()[0]
    page.goto(f"{world.url}/patterns/{pattern}")
    page.get_by_text("Frozen evidence").first.click()
    page.get_by_role("link", name="Patterns").first.focus()
    before = world.get(f"/api/patterns/{pattern}")["calls"]
    world.replay(range(170, 176))
    wait_until(lambda: world.get(f"/api/patterns/{pattern}")["calls"] > before)
    page.get_by_text(f"{world.get(f'/api/patterns/{pattern}')['calls']} calls").first.wait_for()
    assert page.locator("#history details").first.get_attribute("open") is not None
    assert page.evaluate("document.activeElement.textContent") == "Patterns"


def test_what_scrubbing_makes_of_a_run(world: DashboardWorld, page: Any) -> None:
    pytest.importorskip("presidio_analyzer", reason="needs the extra 'distill'")
    run = world.get("/api/trajectories")[-1]["trajectory_id"]
    page.goto(f"{world.url}/scrub/{run}")
    # Some seconds, of which a machine with other work to do makes more.
    page.get_by_text("1 × email address").wait_for(timeout=300_000)
    text = page.locator("#scrubbed").inner_text()
    assert "@example.com" not in text or "customer" not in text
    assert page.locator("mark").count() >= 1
    page.screenshot(path=ARTEFACTS / "scrub.png", full_page=True)


def test_a_version_is_retired_by_clicking(world: DashboardWorld, page: Any) -> None:
    page.goto(f"{world.url}/students/{VERSION}")
    decide(page, "Retire", "a better one is coming")
    page.locator("#head").get_by_text("retired by").wait_for()
    assert {world.state(one) for one in world.patterns()} <= {"quarantined", "blocked"}
    assert world.get(f"/api/students/{VERSION}")["status"] == "retired"
