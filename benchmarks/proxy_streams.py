"""What a gateway does to event streams: when chunks arrive, whether they come alone, and whether every byte comes."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from .proxy_gateways import Gateway
from .proxy_load import Sent, at_once, one_by_one, parse_reply, run_precisely, unchunked
from .proxy_mock import TIMED_FRAMES, frames, request_body
from .report import percentile


@dataclass(frozen=True)
class Arrival:
    """An event of a stream at the agent."""

    at: float
    """When its last byte was read, in seconds of `time.perf_counter`."""
    read: int
    """Which read of the socket gave it, counted from 0."""


def arrivals(call: Sent) -> list[Arrival]:
    """When each event of an answer was complete. Empty when the answer has no sound head."""
    found: list[Arrival] = []
    raw, start, chunked = b"", -1, False
    for number, (at, piece) in enumerate(call.pieces):
        raw += piece
        if start < 0:
            start = raw.find(b"\r\n\r\n") + 4 if b"\r\n\r\n" in raw else -1
            chunked = b"chunked" in raw[: max(0, start)].lower()
        if start >= 0:
            body = unchunked(raw[start:])[0] if chunked else raw[start:]
            found += [Arrival(at, number)] * (body.count(b"\n\n") - len(found))
    return found


def fault(call: Sent, expected: bytes) -> str:
    """What is wrong with a streamed answer; empty when every byte came, in order and no more."""
    if not call.done:
        return "did not end"
    try:
        reply = parse_reply(call.raw)
    except ValueError as error:
        return str(error)
    if reply.status != 200:
        return f"status {reply.status}"
    if not reply.whole:
        return "broken off"
    return "" if reply.body == expected else f"{len(reply.body)} bytes of {len(expected)}, or changed"


@dataclass(frozen=True)
class Rhythm:
    """How the timed frames of many streams arrived."""

    first_ms: float
    """Median from sending the request to the first event."""
    gaps_ms: list[float]
    """Median gap before the second event, the third, …"""
    gap_p99_ms: float
    """99th percentile of all gaps."""
    merged: list[int]
    """In how many streams the second event, the third, … came in the same read as the one before."""
    streams: int

    @property
    def merged_share(self) -> float:
        """Of the events that could have been merged."""
        return sum(self.merged) / (self.streams * len(self.merged))


def rhythm(calls: Sequence[Sent]) -> Rhythm:
    """Of streams that have all arrived whole. Raises ValueError when one has too few events."""
    seen = [arrivals(call)[:TIMED_FRAMES] for call in calls]
    if any(len(events) < TIMED_FRAMES for events in seen):
        raise ValueError(f"Expected at least {TIMED_FRAMES} events in each stream.")
    first = statistics.median(events[0].at - call.sent for events, call in zip(seen, calls, strict=True))
    steps = [list(pairwise(events)) for events in seen]
    gaps = [[(now.at - before.at) * 1000 for before, now in step] for step in zip(*steps, strict=True)]
    merged = [sum(now.read == before.read for before, now in step) for step in zip(*steps, strict=True)]
    medians, every = [statistics.median(step) for step in gaps], [gap for step in gaps for gap in step]
    return Rhythm(first * 1000, medians, percentile(every, 0.99), merged, len(seen))


def compare(ours: Rhythm, direct: Rhythm) -> dict[str, Any]:
    """What the gateway adds to the rhythm of the streams."""
    shifts = [abs(mine - theirs) for mine, theirs in zip(ours.gaps_ms, direct.gaps_ms, strict=True)]
    return {
        "first_added_ms": ours.first_ms - direct.first_ms,
        "first_ms": ours.first_ms,
        "first_direct_ms": direct.first_ms,
        "largest_gap_shift_ms": max(shifts),
        "gaps_ms": [round(gap, 3) for gap in ours.gaps_ms],
        "gaps_direct_ms": [round(gap, 3) for gap in direct.gaps_ms],
        "gap_p99_ms": ours.gap_p99_ms,
        "gap_p99_direct_ms": direct.gap_p99_ms,
        "streams": ours.streams,
        "merged": ours.merged,
        "merged_direct": direct.merged,
        "merged_share_beyond_direct": max(0.0, ours.merged_share - direct.merged_share),
    }


def alone(gateway: Gateway, direct: Gateway, rounds: int, each: int) -> tuple[dict[str, Any], list[Sent]]:
    """Streams one at a time, in turns with the direct way; the comparison, and the calls that the gateway answered.

    The agent does not ask for usage, as most don't: a gateway that asks in its place has to look at every event.
    Raises ValueError when a stream does not arrive as it was sent.
    """
    sent: dict[str, list[Sent]] = {gateway.name: [], direct.name: []}
    for _ in range(rounds):
        for way in (direct, gateway):
            body = request_body(way.model, stream=True)
            sent[way.name] += run_precisely(one_by_one(way, body, each))
    ours = [call for call in sent[gateway.name] if fault(call, b"".join(frames(usage=False))) == ""]
    if len(ours) < len(sent[gateway.name]):
        faults = {fault(call, b"".join(frames(usage=False))) for call in sent[gateway.name]} - {""}
        raise ValueError(f"Streams did not arrive as they were sent: {', '.join(sorted(faults))}.")
    return compare(rhythm(ours), rhythm(sent[direct.name])), ours


def together(gateway: Gateway, count: int, usage: bool) -> tuple[dict[str, Any], list[Sent]]:
    """`count` streams at the same time: which came whole, and how late the first events were."""
    body = request_body(gateway.model, stream=True, asks_for_usage=usage)
    calls = run_precisely(at_once(gateway, body, count), many=True)
    # The mock always sends its usage event; only who speaks to it directly, or asks for it, gets it.
    expected = b"".join(frames(usage=usage or gateway.process is None))
    faults = [found for found in (fault(call, expected) for call in calls) if found]
    firsts = [(call.pieces[0][0] - call.sent) * 1000 for call in calls if call.pieces]
    ends = [call.done for call in calls if call.done]
    return {
        "streams": count,
        "wrong": len(faults),
        "faults": sorted(set(faults))[:5],
        "events": sum(len(arrivals(call)) for call in calls),
        "first_p50_ms": percentile(firsts, 0.5) if firsts else None,
        "first_p99_ms": percentile(firsts, 0.99) if firsts else None,
        "seconds": max(ends, default=0.0) - calls[0].due,
    }, calls
