"""The online recogniser, fed call by call."""

import random
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.traffic.discovery import Discovery
from tutelage.traffic.facts import Facts, facts_of
from tutelage.traffic.pattern_edits import Event, Merge
from tutelage.traffic.patterns import Registry
from tutelage.traffic.skeleton import GAP, WILD

TOOLS = [{"type": "function", "function": {"name": "lookup", "parameters": {"type": "object"}}}]
SHOP = "You are the support agent of a shoe shop.\nThe time is {time}.\nNever promise a refund."


def facts(system: str, user: str = "hi", role: str = "user", tools: Any = TOOLS) -> Facts:
    messages = [{"role": "user", "content": user}]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    if role != "user":
        messages.append({"role": role, "content": "x"})
    found = facts_of({"messages": messages, "tools": tools})
    assert found is not None
    return found


class Feed:
    """Feeds calls and keeps the pattern of each."""

    def __init__(self, registry: Registry | None = None, **options: Any) -> None:
        self.discovery = Discovery(registry or Registry(), clock=lambda: 1.0, **options)
        self.places: dict[str, str | None] = {}

    def __call__(self, one: Facts, hint: str = "", call_id: str = "") -> str | None:
        call_id = call_id or str(len(self.places))
        place = self.discovery.observe(call_id, one, hint)
        self.places[call_id] = place.pattern_id if place else None
        for settled in self.discovery.settled():
            assert self.places[settled.call_id] is None
            self.places[settled.call_id] = settled.pattern_id
        return self.places[call_id]

    @property
    def names(self) -> list[tuple[str, int, str]]:
        return [(entry.name, entry.version, entry.role) for entry in self.discovery.registry.entries()]


def clock(number: int) -> str:
    return SHOP.format(time=f"{number // 60 % 24:02}:{number % 60:02}")


def test_eight_equal_prompts_from_several_conversations_make_a_pattern() -> None:
    feed = Feed()
    for number in range(7):
        assert feed(facts(clock(number), f"question {number}")) is None
    assert feed(facts(clock(7), "question 7"))
    assert len(set(feed.places.values())) == 1
    assert None not in feed.places.values()
    assert feed.discovery.waiting == 0
    (entry,) = feed.discovery.new_patterns()
    assert entry.skeleton == tuple(SHOP.format(time="⟨time⟩").split("\n"))
    assert entry.created_at == 1.0
    assert feed.discovery.new_patterns() == []


def test_one_conversation_alone_must_be_longer() -> None:
    feed = Feed()
    for number in range(29):
        assert feed(facts(clock(number))) is None
    assert feed(facts(clock(29)))


def test_roles_are_patterns_of_one_agent() -> None:
    feed = Feed()
    for number in range(8):
        feed(facts(clock(number), f"question {number}"))
    tool_turn = feed(facts(clock(9), role="tool"))
    assert tool_turn
    user, tool = feed.discovery.registry.entries()
    assert (user.role, tool.role) == ("user", "tool")
    assert tool.pattern_id == tool_turn
    assert user.agent_id == tool.agent_id
    assert user.pattern_id != tool.pattern_id
    assert (user.name, user.version) == (tool.name, tool.version)


def test_an_agent_without_system_prompt_is_its_tools() -> None:
    feed = Feed()
    for number in range(8):
        feed(facts("", f"question {number}"))
    assert feed(facts("", "more"))
    assert feed(facts("A system prompt at last.", "more")) is None
    assert feed(facts("", "more", tools=[])) is None


def test_retrieved_text_is_left_out_after_thirty_calls() -> None:
    feed = Feed()
    for number in range(30):
        passages = "\n".join(f"Passage {number}.{part} of the handbook" for part in range(1 + number % 4))
        feed(facts(f"{clock(number)}\n{passages}", f"question {number}"))
    assert len(set(feed.places.values())) == 1
    assert feed.places["29"]
    (entry,) = feed.discovery.registry.entries()
    assert entry.skeleton[-1] == GAP


def test_names_of_people_in_a_line_do_not_split_a_pattern() -> None:
    feed = Feed()
    for number in range(60):
        feed(facts(f"{clock(number)}\nThe customer's name is Person{number % 20}, a regular.", f"question {number}"))
    assert len(set(feed.places.values())) == 1
    (entry,) = feed.discovery.registry.entries()
    assert entry.skeleton[-1] == f"The customer's name is {WILD} a regular."


def test_a_prompt_edit_is_a_new_version_with_a_new_id() -> None:
    feed = Feed()
    for number in range(10):
        feed(facts(clock(number), f"question {number}"))
    for number in range(10, 20):
        feed(facts(clock(number).replace("Never", "Only on Sundays"), f"question {number}"))
    old, new = feed.discovery.registry.entries()
    assert (old.name, old.version, new.name, new.version) == (old.name, 1, old.name, 2)
    assert old.pattern_id != new.pattern_id
    assert old.agent_id != new.agent_id
    assert feed(facts(clock(1), "again")) == old.pattern_id


def test_a_changed_tool_schema_is_a_new_version() -> None:
    feed = Feed()
    changed = [
        {"type": "function", "function": {"name": "lookup", "parameters": {"type": "object", "required": ["a"]}}}
    ]
    for tools in (TOOLS, changed):
        for number in range(8):
            feed(facts(clock(number), f"question {number}", tools=tools))
    assert [version for _, version, _ in feed.names] == [1, 2]
    assert len({name for name, _, _ in feed.names}) == 1


def test_two_tasks_with_common_lines_never_share_an_id() -> None:
    tasks = ("Translate the letter into French.", "Summarise the letter for a manager.", "Rate the tone of the letter.")
    feed, truth = Feed(), {}
    dice = random.Random(3)
    for number in range(120):
        task = dice.choice(tasks)
        truth[str(number)] = task
        user_line = f"The reader is called Person{dice.randint(0, 500)} of department {dice.randint(0, 500)}."
        feed(facts(f"You work on letters.\n{task}\n{user_line}\nBe brief.", f"letter {number}", tools=[]))
    pairs = {(pattern, truth[call]) for call, pattern in feed.places.items() if pattern}
    assert len({pattern for pattern, _ in pairs}) == len(pairs) == 3
    assert sum(pattern is None for pattern in feed.places.values()) < 12


def test_a_name_from_the_caller_makes_a_pattern_at_once() -> None:
    feed = Feed()
    first = feed(facts(clock(1)), hint="triage")
    assert first
    assert feed(facts(clock(2).upper()), hint="triage") == first
    assert feed(facts(clock(1))) is None
    other = feed(facts(clock(1), tools=[]), hint="triage")
    assert other != first
    assert feed.names == [("triage", 1, "user"), ("triage", 2, "user")]


def test_a_restarted_recogniser_goes_on_with_the_published_registry(tmp_path: Path) -> None:
    feed = Feed()
    for number in range(8):
        feed(facts(clock(number), f"question {number}"))
    feed.discovery.registry.publish(tmp_path / "patterns.json")
    again = Feed(Registry.load(tmp_path / "patterns.json"))
    assert again(facts(clock(99), "new")) == feed.places["0"]
    assert again.discovery.new_patterns() == []


def test_the_same_traffic_gives_the_same_ids_in_another_process() -> None:
    ids = []
    for _ in range(2):
        feed = Feed()
        for number in range(8):
            feed(facts(clock(number), f"question {number}"))
        ids.append(feed.places)
    assert ids[0] == ids[1]


def test_a_call_seen_twice_counts_once() -> None:
    feed = Feed()
    for number in range(20):
        feed.discovery.observe("same", facts(clock(number), f"question {number}"))
    assert feed.discovery.waiting == 1
    assert len(feed.discovery.registry) == 0


def test_waiting_calls_are_bounded() -> None:
    feed = Feed(max_waiting=20, max_keys=5, max_characters=2_000)
    for number in range(200):
        feed(facts(f"{number} " + "word " * (number % 50), tools=[*TOOLS, {"type": str(number % 9)}]))
    assert feed.discovery.waiting <= 20
    assert len(feed.discovery.registry) == 0
    feed(facts("x" * 5_000))
    assert feed.discovery.waiting <= 20


LINES = st.sampled_from(
    ["You sell shoes to people.", "You repair bicycles.", "Be brief, always.", "Be polite, always."]
)
CALLS = st.lists(
    st.tuples(st.lists(LINES, max_size=3), st.integers(0, 20), st.sampled_from(["user", "tool"]), st.booleans()),
    max_size=60,
)


@settings(max_examples=50, deadline=None)
@given(CALLS)
def test_ids_never_change_by_later_observations(calls: list[tuple[list[str], int, str, bool]]) -> None:
    feed = Feed(min_calls=6, min_identical=3, min_conversations=2, look_every=2)
    registry = feed.discovery.registry
    given_ids: dict[Facts, str] = {}
    entries: list[Any] = []
    for number, (lines, extra, role, bare) in enumerate(calls):
        text = "\n".join([*lines, *([] if bare else [f"Note {extra} of the day"])])
        feed(facts(text, str(number), role))
        assert registry.entries()[: len(entries)] == entries, "entries are only ever added"
        entries = registry.entries()
    for number, (lines, extra, role, bare) in enumerate(calls):
        text = "\n".join([*lines, *([] if bare else [f"Note {extra} of the day"])])
        place = feed.places[str(number)]
        if place:
            entry = registry.get(place)
            assert entry is not None
            assert entry.role == role
            seen = given_ids.setdefault(facts(text, "", role), place)
            assert registry.get(seen) is not None
    assert len({entry.pattern_id for entry in entries}) == len(entries)


@settings(max_examples=50, deadline=None)
@given(CALLS)
def test_what_is_recognised_is_what_the_registry_identifies(calls: list[tuple[list[str], int, str, bool]]) -> None:
    feed = Feed(min_calls=6, min_identical=3, min_conversations=2, look_every=2)
    for number, (lines, _, role, _) in enumerate(calls):
        one = facts("\n".join(lines), str(number), role)
        place = feed(one)
        match = feed.discovery.registry.identify(one)
        assert (match.pattern_id if match else None) == place


def named(number: int) -> Facts:
    return facts(f"You are agent {number}.", f"hello {number}")


def test_of_too_many_patterns_those_that_were_used_least_recently_are_retired() -> None:
    feed = Feed(max_patterns=40)
    registry = feed.discovery.registry
    ids = [feed(named(number), f"agent-{number}") for number in range(40)]
    assert feed(named(0), "agent-0") == ids[0], "used again"
    newest = feed(named(99), "agent-99")
    known = {entry.pattern_id for entry in registry.entries()}
    assert known == {ids[0], *ids[4:], newest}, "the oldest three, so that it is not done for each new one"
    assert registry.identify(named(1), "agent-1") is None
    assert feed(named(1), "agent-1") == ids[1], "it has the same id when its calls come back"
    assert len(registry) <= 40


def test_what_somebody_depends_on_is_never_retired() -> None:
    needed: list[str] = []
    feed = Feed(max_patterns=20, needed=lambda: needed)
    registry = feed.discovery.registry
    ids = [feed(named(number), f"agent-{number}") for number in range(20)]
    needed.append(str(ids[0]))
    agents = [entry.agent_id for entry in registry.found()]
    merge = Merge((agents[1], agents[2]), "a_merged", "agent-1", 2)
    registry.edit([Event(seq=1, at=0.0, actor="t", change=merge)])
    for number in range(100, 160):
        feed(named(number), f"agent-{number}")
    assert len(registry) <= 20
    found = {entry.pattern_id for entry in registry.found()}
    assert {ids[0], ids[1], ids[2]} <= found
    match = registry.identify(named(2), "agent-2")
    assert match
    assert match.agent_id == "a_merged"


def test_found_patterns_are_retired_and_recalled_as_they_were(tmp_path: Path) -> None:
    feed = Feed()
    registry = feed.discovery.registry
    for number in range(3):
        for call in range(8):
            feed(facts(f"You are agent {number}.", f"question {call}"))
            feed(facts(f"You are agent {number}.", f"question {call}", "tool"))
    shelf = {entry.pattern_id: entry for entry in registry.found()}
    assert len(shelf) == 6
    used = [*list(shelf)[4:], *list(shelf)[:4]]
    again = Feed(registry, max_patterns=4, recall=shelf.get, used=used)
    assert [entry.pattern_id for entry in registry.found()] == used[2:], "the least recently used have gone"
    registry.publish(tmp_path / "patterns.json")
    assert Registry.load(tmp_path / "patterns.json").entries() == registry.entries()
    for call in range(8):
        again(facts("You are agent 2.", f"later {call}"))
    entry = registry.get(used[0])
    assert entry == shelf[used[0]]
    registry.retire(["p_unknown"])
