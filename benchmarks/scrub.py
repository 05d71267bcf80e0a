"""Does scrubbing find what is personal, leave what is not, and keep conversations whole, and at what speed?

    python -m benchmarks.scrub [--data DIR] [--quick] [--seed N] [--json FILE]

Values of 16 kinds are planted in made-up conversations of recorded shapes (`scrub_world`).

    recall        share of planted values of which nothing is left, by kind; and of names whose lists are not known
    precision     share of exchanged values that were planted
    survive       share of values that the work is about (order numbers, dates, devices, places) that are still there
    JSON          share of arguments and results that are JSON before and after, with the same keys
    consistency   share of conversations that equal the one built from the stand-ins: every place of a value has the
                  same stand-in, and nothing else changed
    equality      of calls of a teacher and a student, scrubbed each with the conversation: equal ones that are still
                  equal, and different ones that still differ
    blocked       conversations that the second look would not let pass
    speed         CPU seconds for the calls of recorded agents (a call logs its whole conversation): Presidio's analyser
                  on each call's texts, on each different message once, and the product, with its second look

`--data`: recorded traffic (see benchmarks.patterns) for the speed; without it, the planted conversations are used.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tutelage.distill.detect import presidio_detector
from tutelage.distill.leaks import scan
from tutelage.distill.scrub import Scrubbed, Scrubber
from tutelage.distill.walk import leaves

from .patterns import runs_of
from .report import ROOT, at_least, at_most, finish, start
from .scrub_world import TOOLS, UNKNOWN, Message, conversation, locale_of, values_of

KEY = b"benchmark" * 4
SPEED_SETS = ("tau", "agentdojo", "ha_assist")


def quality(count: int, seed: int) -> dict[str, Any]:
    """All figures but the speed, over `count` conversations."""
    detector, _ = presidio_detector()
    scrubber = Scrubber(detector, KEY)
    there, found, kept, given = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    whole, valid, blocked = 0, Counter[bool](), 0
    for number in range(count):
        values = values_of(number, seed)
        messages = conversation(values, number)
        scrubbed = scrubber.scrub(f"t{number}", messages, TOOLS)
        before, after = _text(messages), _text(scrubbed.messages)
        kinds = {name: f"{name} unlisted" if _unlisted(name, number, seed) else name for name in values}
        for name, value in values.items():
            if value in before:
                (there if name.isupper() else kept)[kinds[name]] += 1
                gone = value not in after
                (found if name.isupper() else given)[kinds[name]] += gone if name.isupper() else not gone
        planted = [value for name, value in values.items() if name.isupper()]
        for original in scrubbed.exchanged:
            given["right" if any(original in value or value in original for value in planted) else "wrong"] += 1
        whole += scrubbed.messages == conversation(_exchanged(values, scrubbed), number)
        valid.update(_valid(messages, scrubbed.messages))
        blocked += bool(scan("t", scrubbed, detector, scrubber.kept_in(TOOLS)))
    right, wrong = given.pop("right", 0), given.pop("wrong", 0)
    return {
        "n": dict(there),
        "recall": {kind: found[kind] / there[kind] for kind in sorted(there)},
        "precision": right / max(1, right + wrong),
        "exchanged": right + wrong,
        "survive": sum(given.values()) / sum(kept.values()),
        "survive_by_kind": {name: given[name] / kept[name] for name in sorted(kept)},
        "json": valid[True] / max(1, valid.total()),
        "consistency": whole / count,
        "blocked": blocked / count,
    }


def _unlisted(name: str, number: int, seed: int) -> bool:
    return name == "PERSON" and locale_of(number, seed) in UNKNOWN


def _text(messages: Sequence[Message]) -> str:
    return "\n".join(leaf.text for leaf in leaves(list(messages)))


def _exchanged(values: dict[str, str], scrubbed: Scrubbed) -> dict[str, str]:
    """The table of values with the stand-ins in their places; a name may have been found in parts."""
    fresh = {name: scrubbed.exchanged.get(value, value) for name, value in values.items()}
    if values["PERSON"] not in scrubbed.exchanged:
        fresh["PERSON"] = " ".join(scrubbed.exchanged.get(word, word) for word in values["PERSON"].split())
    return fresh


def _valid(before: Sequence[Message], after: Sequence[Message]) -> Iterable[bool]:
    for old, new in zip(before, after, strict=True):
        pairs = [(old.get("content"), new.get("content"))]
        for one, other in zip(old.get("tool_calls") or [], new.get("tool_calls") or [], strict=True):
            pairs.append((one["function"]["arguments"], other["function"]["arguments"]))
        for was, now in pairs:
            if isinstance(was, str) and isinstance(now, str) and was.startswith("{") and "'" not in was[:3]:
                yield _keys(was) == _keys(now)


def _keys(text: str) -> Any:
    try:
        return sorted(json.loads(text))
    except ValueError:
        return None


def equality(count: int, seed: int) -> dict[str, float]:
    """Teacher's and student's calls, equal and different, scrubbed each with the same conversation."""
    scrubber = Scrubber(presidio_detector()[0], KEY)
    same = different = 0
    for number in range(count):
        values = values_of(number, seed)
        messages = conversation(values, number)
        arguments = {"user_id": values["USER_NAME"], "email": values["EMAIL_ADDRESS"], "phone": values["PHONE_NUMBER"]}
        other = {**arguments, "email": values_of(number + 1, seed)["EMAIL_ADDRESS"]}
        # Written in another order and with other spaces, as a student may.
        spelt = json.dumps(dict(reversed(arguments.items())), separators=(",", ":"))
        teacher, student, wrong = (
            _arguments(scrubber, number, messages, text) for text in (json.dumps(arguments), spelt, json.dumps(other))
        )
        same += teacher == student
        different += teacher != wrong
    return {"equal": same / count, "different": different / count}


def _arguments(scrubber: Scrubber, number: int, messages: Sequence[Message], text: str) -> Any:
    call = {"id": "x", "type": "function", "function": {"name": "update_profile", "arguments": text}}
    answer = {"role": "assistant", "content": None, "tool_calls": [call]}
    scrubbed = scrubber.scrub(f"t{number}", [*messages, answer], TOOLS)
    return json.loads(scrubbed.messages[-1]["tool_calls"][0]["function"]["arguments"])


def analyser() -> Any:
    """Presidio's analyser as its manual sets it up, with an empty spaCy pipeline: all recognisers, on plain text."""
    import spacy
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    engine = SpacyNlpEngine(models=[{"lang_code": "en", "model_name": "blank"}])
    engine.nlp = {"en": spacy.blank("en")}
    registry = RecognizerRegistry()
    registry.load_predefined_recognizers(languages=["en"])
    return AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=["en"])


def speed(runs: Sequence[list[tuple[list[Message], list[int]]]], plain: Any, sample: int) -> dict[str, float]:
    """Megabytes of logged calls a CPU second, the ways in turns. Presidio is measured on `sample` messages of each set
    and taken to be as fast on the rest: its time follows the length of the text."""
    logged = own = first = presidio = presidio_bytes = distinct = 0.0
    for part in runs:
        detector, _ = presidio_detector()
        scrubber = Scrubber(detector, KEY)
        texts = list(dict.fromkeys(_text([message]) for messages, _ in part for message in messages))
        distinct += sum(len(text.encode()) for text in texts)
        chosen = texts[:: max(1, len(texts) // sample)]
        began = time.process_time()
        for text in chosen:
            plain.analyze(text=text, language="en")
        presidio += time.process_time() - began
        presidio_bytes += sum(len(text.encode()) for text in chosen)
        began = time.process_time()
        done = [(f"t{number}", scrubber.scrub(f"t{number}", messages)) for number, (messages, _) in enumerate(part)]
        first += time.process_time() - began
        for name, scrubbed in done:
            scan(name, scrubbed, detector)
        own += time.process_time() - began
        logged += sum(len(_text(messages[: at + 1]).encode()) for messages, calls in part for at in calls)
    rate = presidio_bytes / presidio
    return {
        "logged_mb": logged / 1e6,
        "distinct_mb": distinct / 1e6,
        "presidio_mb_s": rate / 1e6,
        "own_mb_s": logged / own / 1e6,
        "first_pass_mb_s": logged / first / 1e6,
        "times_presidio": logged / own / rate,
        "times_presidio_first_pass": logged / first / rate,
        "times_presidio_distinct": distinct / own / rate,
    }


def _recorded(folder: Path, most: int) -> list[list[tuple[list[Message], list[int]]]]:
    parts = []
    for name in SPEED_SETS:
        path = folder / f"{name}.jsonl.gz"
        if path.is_file():
            chosen = list(islice(runs_of(path), 0, most * 4, 4))
            parts.append([(run["messages"], [call["i"] for call in run["calls"]]) for run in chosen])
    return parts


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, and tell whether all bars are met."""
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "dev")
    options, others = own.parse_known_args(arguments)
    run = start("scrub", __doc__, others)
    count = 60 if run.quick else 600
    figures = quality(count, run.seed)
    figures["equality"] = equality(count // 2, run.seed)
    recorded = _recorded(options.data, 10 if run.quick else 60)
    made = [(conversation(values_of(n, run.seed), n), [2, 4, 6, 8]) for n in range(20 if run.quick else 100)]
    figures["speed"] = speed(recorded or [made], analyser(), 10 if run.quick else 40)
    figures["speed_on"] = list(SPEED_SETS) if recorded else ["planted"]
    recalls = figures["recall"]
    listed = {kind: value for kind, value in recalls.items() if not kind.endswith("unlisted")}
    return finish(
        run,
        [
            at_least("recall, the worst kind", min(listed.values()), "", 0.95),
            at_least("recall, mean of the kinds", sum(listed.values()) / len(listed), "", 0.98),
            at_least("precision", figures["precision"], "", 0.97),
            at_least("values of the work that survive", figures["survive"], "", 0.98),
            at_least("JSON still valid", figures["json"], "", 1.0),
            at_least("consistency", figures["consistency"], "", 1.0),
            at_least("equal calls still equal", figures["equality"]["equal"], "", 1.0),
            at_least("different calls still different", figures["equality"]["different"], "", 1.0),
            at_most("blocked by the second look", figures["blocked"], "", 0.02),
            at_least("speed beside plain Presidio", figures["speed"]["times_presidio"], "x", 5.0),
        ],
        figures,
        ["presidio-analyzer", "faker"],
    )


if __name__ == "__main__":
    sys.exit(main())
