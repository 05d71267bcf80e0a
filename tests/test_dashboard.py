"""The page: its payload, its templates, and the whole of it in a real browser."""

import asyncio
import dataclasses
import re
import socket
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tutelage.proxy import dashboard
from tutelage.proxy.chart import Bar, Chart, Part
from tutelage.proxy.control import serve
from tutelage.proxy.overview import Overview
from tutelage.proxy.routes import RouteTable

TEMPLATES = Path(dashboard.__file__).parent / "templates"
CHROMIUM = Path("/usr/bin/chromium")
VIEWS = {
    "page": dashboard.Page,
    "notice": dashboard.Notice,
    "tile": dashboard.Tile,
    "page.chart": Chart,
    "bar": Bar,
    "part": Part,
    "row": dashboard.PatternView,
    "row.risk_bar": dashboard.RiskBar,
    "event": dashboard.EventView,
    "run": dashboard.RunView,
    "item": dashboard.HealthItem,
}


def page_of(world: Any) -> dashboard.Page:
    overview = Overview(world.plane.store, world.plane.keeper, world.options, world.data.runs)
    return dashboard.build(overview, world.now)


def busy(world: Any) -> None:
    """A pattern in canary with some traffic, audits and a run."""
    world.play(40)
    run = world.data.runs / "20270115-080000-parcels"
    run.mkdir()
    (run / "progress.jsonl").write_text(
        '{"stage": "train", "fraction": 0.4, "message": "step 40 of 100", "loss": 0.21}\n'
    )
    world.add_student()
    world.play(60)
    world.label()
    world.idle()
    world.play(20, route="student", student=world.version)
    world.play(30)
    world.label("audit")
    world.idle()


@pytest.mark.parametrize("name", sorted(VIEWS))
def test_templates_use_the_documented_payload_and_all_of_it(name: str) -> None:
    text = "".join(path.read_text() for path in TEMPLATES.glob("*.html"))
    code = " ".join(re.findall(r"\{[{%](.*?)[%}]\}", text))
    used = set(re.findall(rf"(?<![\w.]){re.escape(name)}\.(\w+)", code))
    assert used == {field.name for field in dataclasses.fields(VIEWS[name])}


def test_the_page_of_an_empty_store(control_world: Any) -> None:
    page = page_of(control_world)
    html = dashboard.render("page.html", page)
    assert page.patterns == ()
    assert "No pattern yet" in html
    assert control_world.options.data_plane_url in html


def test_risk_never_stands_without_n_and_interval(control_world: Any) -> None:
    busy(control_world)
    (row,) = page_of(control_world).patterns
    assert row.state_text == "canary 10%"
    assert row.risk == "0.000"
    assert re.fullmatch(r"0\.000 to 0\.\d{3} · n = 20 · limit 0\.1", row.interval)
    assert row.risk_bar is not None
    assert row.risk_bar.limit == 25.0
    assert row.progress is not None
    assert "audited sessions" in row.missing
    assert row.calls_by_route == "130 teacher · 20 student"


def test_money_is_unknown_without_a_price_and_never_zero(control_world: Any) -> None:
    control_world.options = dataclasses.replace(control_world.options, prices={})
    busy(control_world)
    page = page_of(control_world)
    assert page.patterns[0].money == "unknown"
    assert page.tiles[3].value == "unknown"
    assert "teacher-1-big" in page.tiles[3].note


def test_text_from_the_traffic_is_escaped(control_world: Any) -> None:
    control_world.play(40)
    control_world.plane.keeper.operate(control_world.pattern, "off", "<script>alert(1)</script>", "<b>bold</b>")
    html = dashboard.render("fragment.html", page_of(control_world))
    assert "<script>" not in html
    assert "<b>bold" not in html
    assert "&lt;b&gt;bold" in html


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "action")]


def test_nothing_is_loaded_from_elsewhere(control_world: Any) -> None:
    busy(control_world)
    links = _Links()
    links.feed(dashboard.render("page.html", page_of(control_world)))
    assert links.found
    assert all(link.startswith("/") for link in links.found)


@pytest.fixture
def served(control_world: Any) -> Iterator[str]:
    """The control plane over HTTP; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    busy(control_world)
    control_world.plane.options = dataclasses.replace(
        control_world.options, port=port, student_url="http://127.0.0.1:9/v1", teacher_url=""
    )
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
    ready = threading.Event()

    async def run() -> None:
        stopped = asyncio.Event()
        loops.append((asyncio.get_running_loop(), stopped))
        ready.set()
        await serve(control_world.plane, stopped)

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert ready.wait(10)
    yield f"http://127.0.0.1:{port}"
    loop, stopped = loops[0]
    loop.call_soon_threadsafe(stopped.set)
    thread.join(30)
    assert not thread.is_alive()


@pytest.mark.browser
def test_the_page_in_a_browser(control_world: Any, served: str) -> None:
    if not CHROMIUM.exists():
        pytest.skip(f"needs a browser at {CHROMIUM} (the package 'chromium')")
    from playwright.sync_api import sync_playwright

    artefacts = Path(__file__).parent.parent / "artefacts"
    artefacts.mkdir(exist_ok=True)
    problems: list[str] = []
    asked: list[str] = []
    arguments = ["--no-sandbox", "--disable-gpu", "--headless=new"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        _wait_until_served(served)
        page.goto(served)
        page.get_by_text("canary 10%").first.wait_for()
        assert page.locator("tr[data-pattern]").count() == 1
        assert "130 teacher · 20 student" in page.locator("table.patterns").inner_text()
        page.screenshot(path=artefacts / "dashboard.png", full_page=True)
        page.emulate_media(color_scheme="dark")
        page.screenshot(path=artefacts / "dashboard-dark.png", full_page=True)
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.screenshot(path=artefacts / "dashboard-phone.png", full_page=True)
        page.set_viewport_size({"width": 1280, "height": 900})
        page.locator("tr[data-pattern] button").click()
        page.fill("#ask-reason", "odd answers")
        page.screenshot(path=artefacts / "dashboard-switch.png")
        page.keyboard.press("Enter")
        page.locator("tr[data-pattern] .state-off").wait_for(timeout=1000)
        table = msgspec.json.decode(control_world.data.routes.read_bytes(), type=RouteTable)
        assert table.routes[control_world.pattern].state == "off"
        page.get_by_text("odd answers").wait_for()
        page.wait_for_timeout(2500)  # at least one refresh by itself
        assert sum(url.endswith("/fragment") for url in asked) >= 2
        browser.close()
    assert problems == []
    assert all(url.startswith(served) for url in asked)


def _wait_until_served(url: str) -> None:
    import time

    import httpx

    for _ in range(200):
        try:
            httpx.get(f"{url}/healthz", trust_env=False).raise_for_status()
            return
        except httpx.HTTPError:
            time.sleep(0.05)
    raise AssertionError("the control plane did not answer")
