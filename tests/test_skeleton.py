"""Masking, reduction, and what a skeleton leaves to be shown."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.traffic.skeleton import GAP, RECORDS, WILD, Skeleton, mask, reduce, reduced_text, system_text

DEVICES = """- names: Kitchen Light
  domain: light
  state: 'on'
- names: Porch Light
  domain: light
  attributes:
    brightness: '40'"""
HOME = f"Current time is 12:23:05. Today's date is 2024-08-11.\nYou run a home.\nDevices:\n{DEVICES}\n\nBe brief."

# Pieces that collide with everything the masks and the list finder look for.
PIECES = st.sampled_from(["12:30", "2024-08-11", "Monday", "Aug 11", "12345", "id-12345", "e@x.org", "deadbeef1"]) | (
    st.sampled_from([" is ", ": ", "a", "-", "_", "T", " ", "⟨", "⟩", "⟨time⟩", "Z", "pm", "+02:00", "ü", "0", "\r"])
)
LINES = st.one_of(
    st.lists(PIECES, max_size=6).map("".join),
    st.sampled_from(["", "- a: b", "  c: d", "  - e: f", "    g:", "- words", "You are an agent.", "Rules:"]),
)
TEXTS = st.lists(LINES, max_size=12).map("\n".join)


@pytest.mark.parametrize(
    ("line", "masked", "values"),
    [
        ("It is 12:23:05 on 2024-08-11.", "It is ⟨time⟩ on ⟨date⟩.", ["12:23:05", "2024-08-11"]),
        ("Now: 2024-08-11T12:23:05.123Z", "Now: ⟨date⟩", ["2024-08-11T12:23:05.123Z"]),
        ("Monday, August 11, 2024 at 3:05 PM", "⟨date⟩ at ⟨time⟩", ["Monday, August 11, 2024", "3:05 PM"]),
        ("Today is Tuesday", "Today is ⟨date⟩", ["Tuesday"]),
        ("run 0190c3f2-7b1a-7000-8000-1234567890ab", "run ⟨id⟩", ["0190c3f2-7b1a-7000-8000-1234567890ab"]),
        ("order ORD-12345 of user_883421", "order ⟨id⟩ of ⟨id⟩", ["ORD-12345", "user_883421"]),
        ("commit 9f86d081884c", "commit ⟨id⟩", ["9f86d081884c"]),
        ("mail ann.lee@example.org now", "mail ⟨email⟩ now", ["ann.lee@example.org"]),
        ("call 5551234567", "call ⟨id⟩", ["5551234567"]),
        ("Use at most 3 of gpt-4o, see 1. and v2.10", "Use at most 3 of gpt-4o, see 1. and v2.10", []),
        ("trailing blanks go \t", "trailing blanks go", []),
    ],
)
def test_masks_what_is_volatile_by_form(line: str, masked: str, values: list[str]) -> None:
    assert mask(line) == (masked, values)


@given(LINES)
def test_masking_is_idempotent(line: str) -> None:
    masked, _ = mask(line)
    assert mask(masked) == (masked, [])


@given(st.text(max_size=60))
def test_masking_is_idempotent_on_any_text(line: str) -> None:
    masked, _ = mask(line)
    assert mask(masked) == (masked, [])


@given(TEXTS)
def test_both_reductions_agree_and_cover_the_text(text: str) -> None:
    whole = reduce(text)
    assert "\n".join(whole.lines) == reduced_text(text)
    covered = [index for start, end in whole.spans for index in range(start, end)]
    assert covered == list(range(covered[0], covered[-1] + 1)) if covered else not reduced_text(text)
    left_out = set(range(len(text.split("\n")))) - set(covered)
    assert all(not text.split("\n")[index].strip() for index in left_out)


def test_a_prompt_cannot_smuggle_in_a_gap() -> None:
    for text in (GAP, f"a\n{GAP}\nb", f"I am {WILD}"):
        skeleton = Skeleton(tuple(reduced_text(text).split("\n")))
        assert skeleton.matches(reduced_text(text))
        assert not skeleton.matches(reduced_text(text.replace(GAP, "x").replace(WILD, "x")))
        assert skeleton.varying(text) == []


def test_a_list_of_records_becomes_one_line_whatever_its_length() -> None:
    assert reduced_text(HOME).split("\n")[3:] == [RECORDS, "", "Be brief."]
    longer = HOME.replace("\n\n", "\n- names: Fan\n  domain: fan\n\n")
    assert reduced_text(longer) == reduced_text(HOME)


@pytest.mark.parametrize(
    "text",
    [
        "- Do not guess.\n- Use the tools.",
        "- note: be brief\n- style: plain",
        "1. name: x\n   kind: y",
        "name: x\nkind: y",
    ],
)
def test_instructions_are_no_records(text: str) -> None:
    assert reduced_text(text) == text


def test_a_nested_list_belongs_to_its_record() -> None:
    assert reduced_text("- name: a\n  tags:\n  - one: x\n  - two: y\nEnd.") == f"{RECORDS}\nEnd."


@pytest.mark.parametrize("line", ["a.", "a-", "1", "x_1111", "a_" + "1" * 50 + "_", " ", "- a: ", "f0", "1:"])
def test_a_hostile_prompt_takes_linear_time(line: str) -> None:
    start = time.perf_counter()
    reduced_text(line * (200_000 // len(line)))
    assert time.perf_counter() - start < 2


def test_an_exact_skeleton_shows_values_and_records_only() -> None:
    skeleton = Skeleton(tuple(reduced_text(HOME).split("\n")))
    assert skeleton.varying(HOME) == ["12:23:05, 2024-08-11", *DEVICES.split("\n")]


def test_what_does_not_match_is_shown_whole() -> None:
    skeleton = Skeleton(tuple(reduced_text(HOME).split("\n")))
    edited = HOME.replace("Be brief.", "Be polite.")
    assert not skeleton.matches(reduced_text(edited))
    assert skeleton.varying(edited) == edited.split("\n")
    assert Skeleton().varying(HOME) == HOME.split("\n")


@pytest.mark.parametrize(
    ("lines", "text", "fits"),
    [
        (("a", "b"), "a\nb", True),
        (("a", "b"), "a\nb\nc", False),
        (("a", "b"), "z\na\nb", False),
        (("b",), "ab", False),
        ((GAP, "b"), "b", True),
        ((GAP, "b"), "a\na\nb", True),
        ((GAP, "b"), "b\na", False),
        (("a", GAP), "a", True),
        (("a", GAP, "b"), "a\nb", True),
        (("a", GAP, "b"), "a\nx\nb\ny\nb", True),
        (("a", GAP, "a"), "a", False),
        (("a", GAP, "b", GAP, "c"), "a\nc\nb\nc", True),
        (("a", GAP, "b", GAP, "c"), "a\nc\nb", False),
        ((GAP, "a", "b", GAP), "a\nx\nb", False),
        ((f"I am {WILD}!", "b"), "I am x y!\nb", True),
        ((f"I am {WILD}!", "b"), "I am x\n!\nb", False),
        (("a", GAP, f"I am {WILD}"), "a\nb\nI am x", True),
        (("a", GAP, f"I am {WILD}"), "a\nI am x\nb", False),
        ((), "", True),
        ((), "a", False),
    ],
)
def test_matching(lines: tuple[str, ...], text: str, fits: bool) -> None:
    assert Skeleton(lines).matches(text) is fits


@given(st.lists(st.sampled_from(["a", "b", GAP]), min_size=1, max_size=6), st.lists(st.sampled_from("abc"), max_size=7))
def test_matching_is_what_a_regular_expression_over_letters_says(lines: list[str], text: list[str]) -> None:
    # One letter a line: a gap is then any string of letters.
    pattern = "".join("[abc]*" if line == GAP else line for line in lines)
    if text:
        assert Skeleton(tuple(lines)).matches("\n".join(text)) is bool(re.fullmatch(pattern, "".join(text)))


@given(TEXTS, st.data())
def test_no_varying_line_is_lost(text: str, data: st.DataObject) -> None:
    whole = reduce(text)
    lines = [data.draw(st.sampled_from([line, line, GAP])) for line in whole.lines]
    skeleton = Skeleton(tuple(lines))
    shown = skeleton.varying(text)
    assert shown == Skeleton(tuple(lines)).varying(text), "deterministic"
    originals, rest = text.split("\n"), list(shown)
    for start, end in whole.spans:
        for original in originals[start:end]:
            masked, values = mask(original)
            in_a_list = end - start > 1 or masked not in lines
            if rest and (rest[0] == original or (not in_a_list and values and rest[0] == ", ".join(values))):
                del rest[0]
            else:
                assert not in_a_list, "a line that the skeleton does not hold"
                assert not values, "a value of one that it holds"
    assert rest == []


@given(TEXTS, TEXTS)
def test_two_prompts_of_one_skeleton_show_different_things(one: str, other: str) -> None:
    skeleton = Skeleton(tuple(reduced_text(one).split("\n"))) if reduced_text(one) else Skeleton()
    same = [line.rstrip() for line in reduce(one).lines] == [line.rstrip() for line in reduce(other).lines]
    if same and one.split("\n") != other.split("\n") and skeleton.varying(one) == skeleton.varying(other):
        assert [line.rstrip() for line in one.strip("\n").split("\n") if line.strip()] == [
            line.rstrip() for line in other.strip("\n").split("\n") if line.strip()
        ]


def test_gaps_hold_the_lines_between_the_blocks() -> None:
    skeleton = Skeleton((GAP, "a", GAP, "b", GAP))
    assert skeleton.gaps("x\na\n\ny\nb") == [["x"], ["", "y"], []]
    assert skeleton.gaps("a\nb\nz") == [[], [], ["z"]]


def test_a_wild_line_is_shown_whole() -> None:
    skeleton = Skeleton((f"The user is {WILD}.", "Be brief."))
    assert skeleton.varying("The user is Ann.\nBe brief.") == ["The user is Ann."]


def test_size_counts_constant_characters() -> None:
    assert Skeleton(("ab", GAP, f"c{WILD}")).size == 3


def test_system_text_reads_the_opening_messages_of_any_form() -> None:
    messages = [
        {"role": "system", "content": "one"},
        {"role": "developer", "content": [{"type": "text", "text": "two"}, {"type": "image_url"}, "odd"]},
        {"role": "user", "content": "three"},
        {"role": "system", "content": "four"},
    ]
    assert system_text(messages) == "one\ntwo"
    assert system_text([{"role": "user", "content": "x"}]) == ""
    assert system_text(["odd", 3]) == ""
    assert system_text([{"role": "system", "content": None}]) == ""
