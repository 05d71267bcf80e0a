"""What of a prompt is needed: learnt from the answers."""

import json
from dataclasses import replace
from typing import Any

from msgspec import structs

from tutelage.distill.curate import CallRef, Trajectory
from tutelage.distill.prompt_form import learnt_form
from tutelage.serving.render import prompt_segments
from tutelage.traffic.record_lists import RecordForm
from tutelage.traffic.students import PromptSpec

SPEC = PromptSpec(skeleton=["It is ⟨time⟩ on ⟨date⟩.", "Devices:", "⟨records⟩"], version=2)
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "switch",
            "parameters": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "domain": {"type": "array", "items": {"type": "string"}},
                    "note": {"type": "string"},
                },
            },
        },
    }
]


def session(number: int, arguments: dict[str, Any], text: str = "") -> Trajectory:
    system = "\n".join(
        [
            f"It is 1{number % 10}:30 on 2026-01-0{number % 9 + 1}.",
            "Devices:",
            *("- names: Lamp", "  domain: light", "  state: 'on'", f"  areas: Room{number // 2 % 4}"),
            *("- names: Kettle", "  domain: switch", "  state: 'off'", f"  areas: Den{number // 2 % 4}"),
            *("- names: Dampness", "  domain: sensor", "  state: '45'", "  areas: Cellar"),
        ]
    )
    wire = [{"id": "1", "type": "function", "function": {"name": "switch", "arguments": json.dumps(arguments)}}]
    answer: dict[str, Any] = {"role": "assistant", "content": text or None}
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": system},
        {"role": "user", "content": f"Do {number}"},
    ]
    messages.append(answer if text else {**answer, "tool_calls": wire})
    call = CallRef(f"c{number}", 2, "p", "teacher", "m", float(number))
    return Trajectory(f"t{number}", f"t{number}", "a", True, "feedback", TOOLS, messages, (call,))


def sessions(count: int = 200, **more: Any) -> list[Trajectory]:
    kinds = [("Lamp", "light"), ("Kettle", "switch")]
    return [
        session(n, {"name": kinds[n % 2][0], "domain": [kinds[n % 2][1]], "note": f"free {n}", **more})
        for n in range(count)
    ]


def test_fields_that_answers_name_are_shown_and_kinds_they_never_mean_are_not() -> None:
    form = learnt_form(sessions(), SPEC)
    assert form.records is not None
    assert form.records.fields == ["names", "domain"]
    assert form.records.hidden == {"domain": ["sensor"]}
    assert form.hides == ["date", "time"]
    assert form.grounded == {"name": "names", "domain": "domain"}
    [system, *_] = prompt_segments(sessions(1)[0].messages[:2], TOOLS, form)
    assert system.text == "<|im_start|>system\nLamp|light\nKettle|switch<|im_end|>\n"


def test_text_answers_count_too() -> None:
    told = [session(n, {}, text=f"The dampness in the cellar is 45 % at 1{n % 10}:30.") for n in range(200)]
    form = learnt_form([*sessions(), *told], SPEC)
    assert form.records is not None
    assert form.records.fields == ["names", "domain", "state", "areas"]
    assert form.records.hidden == {}
    assert form.hides == ["date"]


def test_from_few_calls_nothing_is_left_out() -> None:
    form = learnt_form(sessions(20), SPEC)
    assert form.records is not None
    assert form.records.fields == ["names", "domain", "state", "areas"]
    assert (form.records.hidden, form.hides) == ({}, [])
    assert form.grounded == {"name": "names", "domain": "domain"}
    assert learnt_form(sessions(4), SPEC).grounded == {}


def test_an_argument_that_is_sometimes_free_is_not_grounded() -> None:
    odd = [session(1000 + n, {"name": "everything"}) for n in range(10)]
    assert "name" not in learnt_form([*sessions(), *odd], SPEC).grounded


def test_lists_that_come_in_many_orders_are_sorted() -> None:
    turned = [replace(one, messages=[turned_list(one.messages[0]), *one.messages[1:]]) for one in sessions(60)]
    form = learnt_form([*sessions(), *turned], SPEC)
    assert form.records is not None
    assert not form.records.ordered
    assert learnt_form(sessions(), SPEC).records == replace_ordered(form)
    first, second = (prompt_segments(one.messages[:2], TOOLS, form)[0] for one in (sessions(1)[0], turned[0]))
    assert first == second


def turned_list(system: dict[str, Any]) -> dict[str, Any]:
    lines = system["content"].split("\n")
    return {**system, "content": "\n".join([*lines[:2], *lines[6:10], *lines[2:6], *lines[10:]])}


def replace_ordered(spec: PromptSpec) -> RecordForm:
    assert spec.records is not None
    return structs.replace(spec.records, ordered=True)


def test_full_prompts_and_prompts_without_records_keep_their_form() -> None:
    full = PromptSpec(mode="full", version=2)
    assert learnt_form(sessions(), full) == full
    plain = PromptSpec(skeleton=["You are."], version=2)
    bare = Trajectory("t", "t", "a", True, "", [], [{"role": "user", "content": "x"}, {"role": "assistant"}], ())
    assert learnt_form([bare], plain) == plain
