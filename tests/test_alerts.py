"""Alerts that arrive at a real server: their form, second tries, and no flood."""

import json
import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from http_receiver import Answer, Receiver, receiving

from tutelage.proxy.alerts import BURST, DEMOTED, HOUR_S, TRIES, Alert, Webhook, message

ALERT = Alert(DEMOTED, "p_1", "Pattern p_1 lost its student", "s@1 went from live to quarantined.")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


@contextmanager
def working(webhook: Webhook) -> Iterator[Webhook]:
    stop = threading.Event()
    thread = threading.Thread(target=webhook.run, args=(stop,))
    thread.start()
    try:
        yield webhook
    finally:
        stop.set()
        thread.join()
        webhook.client.close()


def hook(url: str, **fields: object) -> Webhook:
    chosen = {"pause_s": 0.01, "dashboard": "http://127.0.0.1:8401"} | fields
    return Webhook(url, httpx.Client(trust_env=False), **chosen)  # pyright: ignore[reportArgumentType]


def test_an_alert_arrives_in_the_form_that_slack_takes(receiver: Receiver) -> None:
    with working(hook(receiver.url)) as webhook:
        webhook.send(ALERT)
        [posted] = receiver.wait(1)
    body = json.loads(posted.body)
    assert posted.headers["content-type"] == "application/json"
    assert body["text"] == "Pattern p_1 lost its student: s@1 went from live to quarantined."
    assert [block["type"] for block in body["blocks"]] == ["section", "context"]
    assert "*Pattern p_1 lost its student*" in body["blocks"][0]["text"]["text"]
    assert "<http://127.0.0.1:8401>" in body["blocks"][1]["elements"][0]["text"]
    assert webhook.counts.sums == {(DEMOTED, "sent"): 1}


def test_a_receiver_that_is_down_for_a_moment_is_asked_again(receiver: Receiver) -> None:
    receiver.answers = [Answer(503), Answer(429, headers=(("retry-after", "0"),))]
    with working(hook(receiver.url)) as webhook:
        webhook.send(ALERT)
        assert len(receiver.wait(3)) == 3
    assert webhook.counts.sums == {(DEMOTED, "sent"): 1}


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (500, TRIES)])
def test_what_cannot_be_delivered_is_in_the_log(
    receiver: Receiver, caplog: pytest.LogCaptureFixture, status: int, tries: int
) -> None:
    receiver.usual = lambda _: Answer(status)
    with caplog.at_level(logging.ERROR), working(hook(f"{receiver.url}/services/T0/B0/hidden")) as webhook:
        webhook.send(ALERT)
        receiver.wait(tries)
    assert len(receiver.posted) == tries
    assert webhook.counts.sums == {(DEMOTED, "failed"): 1}
    assert f"status {status}" in caplog.text
    assert ALERT.text in caplog.text
    assert "hidden" not in caplog.text


def test_the_url_of_a_receiver_that_is_not_there_stays_secret(caplog: pytest.LogCaptureFixture) -> None:
    with working(hook("http://127.0.0.1:9/services/hidden")) as webhook:
        webhook.send(ALERT)
    assert webhook.counts.sums == {(DEMOTED, "failed"): 1}
    assert "ConnectError" in caplog.text
    assert "hidden" not in caplog.text


def test_the_same_is_not_said_again_for_a_while(receiver: Receiver) -> None:
    now = [0.0]
    with working(hook(receiver.url, repeat_s=100.0, clock=lambda: now[0])) as webhook:
        for moment in (0.0, 50.0, 99.0, 100.0):
            now[0] = moment
            webhook.send(ALERT)
        webhook.send(Alert(DEMOTED, "p_2", "Another", "one."))
        assert len(receiver.wait(3)) == 3
    assert webhook.counts.sums == {(DEMOTED, "sent"): 3}


def test_a_flood_is_held_back_and_told(receiver: Receiver) -> None:
    now = [0.0]
    with working(hook(receiver.url, clock=lambda: now[0])) as webhook:
        for number in range(BURST + 7):
            webhook.send(Alert(DEMOTED, f"p_{number}", "Lost", "it."))
        assert len(receiver.wait(BURST)) == BURST
        now[0] = HOUR_S
        webhook.send(ALERT)
        texts = b" ".join(posted.body for posted in receiver.wait(BURST + 1))
    assert sum(map(int, re.findall(rb"(\d+) more were held back", texts))) == 7
    assert webhook.counts.sums == {(DEMOTED, "sent"): BURST + 1, (DEMOTED, "held_back"): 7}


def test_names_become_no_links_and_no_mentions() -> None:
    text = json.dumps(message(Alert(DEMOTED, "x", "<!channel>", "a & <http://evil.test|b>")))
    assert "<!channel>" not in text
    assert "&lt;!channel&gt;" in text
    assert "a &amp; &lt;http" in text
