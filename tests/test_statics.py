"""Finding the constant lines in prompts that differ."""

import random
import time

from tutelage.traffic.skeleton import GAP, WILD
from tutelage.traffic.statics import Prompt, find_skeletons, informative

HEAD = ("You are the support agent of a small shop.", "Answer from the documents below only.", "", "Documents:")
TAIL = ("", "Finish with a question to the customer.")

EXAMPLES = [
    f"Example {number}: {word} sold out" for number, word in enumerate(["shoes", "hats", "bags", "caps", "gum"])
]


def retrieved(number: int) -> tuple[str, ...]:
    """Text of changing length, different for each call."""
    dice = random.Random(number)
    return tuple(f"Passage {dice.random()} about {number}" for _ in range(dice.randint(1, 9)))


def find(prompts: list[Prompt], has_tools: bool = True) -> list[tuple[str, ...]]:
    return [skeleton.lines for skeleton in find_skeletons(prompts, 8, has_tools)]


def test_retrieved_text_of_changing_length_becomes_a_gap() -> None:
    prompts = [HEAD + retrieved(number) + TAIL for number in range(30)]
    assert find(prompts) == [(*HEAD, GAP, *TAIL)]


def test_text_at_the_end_leaves_the_end_open() -> None:
    assert find([HEAD + retrieved(number) for number in range(30)]) == [(*HEAD, GAP)]


def test_names_in_a_line_become_wild() -> None:
    prompts = [(HEAD[0], f"The customer is Person{number} Smith, of the gold plan.", *TAIL) for number in range(30)]
    assert find(prompts) == [(HEAD[0], f"The customer is {WILD} Smith, of the gold plan.", *TAIL)]


def test_numbers_that_vary_become_wild() -> None:
    prompts = [(HEAD[0], f"You have {number} open tickets.") for number in range(30)]
    assert find(prompts) == [(HEAD[0], f"You have {WILD} open tickets.")]


def test_two_agents_that_share_a_line_are_kept_apart() -> None:
    translate = ("You translate letters into French.", "Be concise.")
    summarise = ("You summarise meetings for managers.", "Be concise.")
    one = [(*translate, *retrieved(number)) for number in range(18)]
    other = [(*summarise, *retrieved(100 + number)) for number in range(14)]
    prompts = [prompt for pair in zip(one, other, strict=False) for prompt in pair] + one[14:]
    assert set(find(prompts)) == {(*translate, GAP), (*summarise, GAP)}


def test_a_few_kinds_of_prompts_are_never_merged() -> None:
    kinds = [(*HEAD, f"Serve customers of plan {name}.") for name in ("gold", "silver", "iron")]
    prompts = [kinds[number % 3] for number in range(33)]
    assert sorted(find(prompts)) == sorted(kinds)


def test_rotating_examples_are_no_kinds() -> None:
    prompts = [(*HEAD, *random.Random(seed).sample(EXAMPLES, 3), *TAIL) for seed in range(30)]
    assert find(prompts) == [(*HEAD, GAP, *TAIL)]


def test_kinds_are_kept_apart_although_other_lines_rotate() -> None:
    tasks = ("Write to the customer.", "Write to the supplier.")
    prompts = [(HEAD[0], tasks[seed % 2], *random.Random(seed).sample(EXAMPLES, 3)) for seed in range(40)]
    assert set(find(prompts)) == {(HEAD[0], task, GAP) for task in tasks}


def test_an_optional_rule_is_a_kind() -> None:
    prompts = [(*HEAD, *(["You may refund."] if seed % 2 else []), *retrieved(seed)) for seed in range(30)]
    assert set(find(prompts)) == {(*HEAD, GAP), (*HEAD, "You may refund.", GAP)}


def test_a_rare_kind_waits_for_more_evidence() -> None:
    prompts: list[Prompt] = [HEAD] * 26
    prompts += [(*HEAD, "One more rule of the house.")] * 4
    assert find(prompts) == [HEAD]


def test_nothing_in_common_gives_nothing() -> None:
    assert find([retrieved(number) for number in range(30)]) == []
    assert find([retrieved(number) for number in range(30)], has_tools=False) == []


def test_without_tools_a_short_common_line_is_not_enough() -> None:
    prompts = [("You are helpful and kind.", *retrieved(number), *retrieved(99 + number)) for number in range(30)]
    assert find(prompts, has_tools=False) == []
    assert find(prompts, has_tools=True) == [("You are helpful and kind.", GAP)]


def test_lines_that_repeat_are_no_anchor() -> None:
    prompts: list[Prompt] = []
    for dice in map(random.Random, range(30)):
        devices = [(f"Device {dice.random()}", "State: active") for _ in range(dice.randint(2, 5))]
        prompts.append((HEAD[0], *(line for device in devices for line in device)))
    assert find(prompts) == [(HEAD[0], GAP)]


def test_one_outlier_does_not_hide_the_skeleton() -> None:
    prompts = [HEAD + retrieved(number) + TAIL for number in range(29)]
    assert find([*prompts, ("Something else entirely.", "Not the same agent.")]) == [(*HEAD, GAP, *TAIL)]


def test_the_order_of_arrival_does_not_decide_the_kinds() -> None:
    prompts = [HEAD + retrieved(number) + TAIL for number in range(20)]
    prompts += [("You plan journeys by train.", *retrieved(number)) for number in range(50, 70)]
    expected = set(find(prompts))
    assert len(expected) == 2
    for seed in range(5):
        random.Random(seed).shuffle(prompts)
        assert set(find(prompts)) == expected


def test_huge_or_repetitive_prompts_cost_little() -> None:
    started = time.perf_counter()
    assert find([(*HEAD, *["State: active"] * (1_000 + number)) for number in range(30)])
    assert find([tuple(f"Line number {line}" for line in range(20_000 + number)) for number in range(30)]) == []
    assert time.perf_counter() - started < 5


def test_too_few_prompts_say_nothing() -> None:
    assert find([HEAD] * 7) == []
    assert find([]) == []


def test_informative() -> None:
    assert informative("Be concise.")
    assert not informative("---")
    assert not informative("  }, {")
