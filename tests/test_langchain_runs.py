"""The tree of runs: trajectories, sub-agents, what is continued, and the bounds."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tutelage.plugins.langchain_runs import Frame, Run, Runs, Threads, hint_of, tag_of

NODE = ["graph:step:1"]


def frame_of(run: Run) -> Frame:
    assert run.frame is not None
    return run.frame


class Tree:
    """Starts runs with names that are easy to read."""

    def __init__(self, threads: Threads | None = None, most: int = 1000) -> None:
        self.runs = Runs(threads or Threads(), most)
        self.ids: dict[str, UUID] = {}

    def start(self, name: str, parent: str = "", tags: Any = None, graph: str = "", **more: Any) -> Run:
        self.ids[name] = uuid4()
        flags = {key: more.pop(key) for key in ("continues", "is_call") if key in more}
        return self.runs.start(self.ids[name], self.ids.get(parent), more, graph, tags=tags, **flags)

    def id_of(self, name: str) -> str:
        return str(self.ids[name])


def test_the_root_is_the_trajectory_of_everything_below_it() -> None:
    tree = Tree()
    root = tree.start("root", graph="LangGraph", thread_id="thread 1")
    node = tree.start("node", "root", NODE)
    model = tree.start("model", "node", is_call=True)
    assert root.owns
    assert not node.owns
    assert frame_of(model) is frame_of(root)
    tag = tag_of(model, {"langgraph_node": "plan"})
    assert (tag.trajectory, tag.parent, tag.conversation, tag.pattern) == (tree.id_of("root"), "", "thread 1", "plan")


def test_a_graph_below_a_node_or_a_tool_is_a_trajectory_of_its_own() -> None:
    tree = Tree()
    tree.start("root")
    tree.start("node", "root", NODE)
    inner = tree.start("inner", "node", ["seq:step:1"], graph="researcher", langgraph_checkpoint_ns="node:1")
    assert frame_of(inner) is frame_of(tree.runs.get(tree.ids["root"]) or inner)
    step = tree.start("step", "inner", NODE, langgraph_checkpoint_ns="node:1|step:2")
    assert inner.owns
    frame = frame_of(step)
    assert frame is inner.frame
    assert (frame.trajectory, frame.parent) == (tree.id_of("inner"), tree.id_of("root"))
    assert (frame.place, frame.graph) == ("node:1", "researcher")
    tree.start("tool", "step")
    tree.start("deep", "tool", [])
    deepest = tree.start("deep step", "deep", NODE)
    assert (frame_of(deepest).trajectory, frame_of(deepest).parent) == (tree.id_of("deep"), tree.id_of("inner"))
    # Two graphs that one node runs side by side are two trajectories.
    tree.start("deep 2", "tool", [])
    assert frame_of(tree.start("deep step 2", "deep 2", NODE)).trajectory == tree.id_of("deep 2")


def test_a_chain_inside_of_a_node_opens_nothing() -> None:
    tree = Tree()
    root = tree.start("root")
    tree.start("node", "root", NODE)
    tree.start("task", "node", ["seq:step:1"], langgraph_checkpoint_ns="node:1|task:2")
    assert frame_of(tree.start("model", "task", is_call=True)) is root.frame


def test_a_model_that_is_called_alone_has_no_trajectory() -> None:
    tree = Tree()
    model = tree.start("model", is_call=True)
    assert model.frame is None
    assert tag_of(model, {}).headers() == {}
    named = tag_of(model, {"tutelage_trajectory": "mine", "tutelage_pattern": "p"})
    assert (named.trajectory, named.pattern) == ("mine", "p")


def test_runs_whose_parent_is_not_known_are_left_untagged() -> None:
    tree = Tree()
    tree.ids["missed"] = uuid4()
    model = tree.start("model", "missed", is_call=True)
    assert tag_of(model, {"langgraph_node": "plan"}).headers() == {}


def test_what_was_interrupted_goes_on_in_the_same_thread_only() -> None:
    threads = Threads()
    tree = Tree(threads)
    frame = frame_of(tree.start("root", thread_id="a"))
    frame.paused, frame.calls = True, 3
    tree.runs.pause(frame)
    assert frame_of(Tree(threads).start("other", thread_id="b", continues=True)).trajectory == ""
    again = frame_of(Tree(threads).start("again", thread_id="a", continues=True))
    assert again is frame
    assert (again.resumed, again.paused, again.calls) == (True, False, 3)
    # It is given once, and a new question does not continue what was left.
    tree.runs.pause(frame)
    assert frame_of(Tree(threads).start("new", thread_id="a")) is not frame
    assert frame_of(Tree(threads).start("late", thread_id="a", continues=True)).trajectory == ""


def test_an_interrupted_sub_agent_goes_on_too() -> None:
    threads = Threads()
    before, after = Tree(threads), Tree(threads)
    before.start("root", thread_id="a")
    before.start("inner", "root", [], langgraph_checkpoint_ns="tools:7")
    inner = frame_of(before.start("step", "inner", NODE))
    before.runs.pause(inner)
    before.runs.pause(frame_of(before.start("r", thread_id="a")))
    after.start("root", thread_id="a", continues=True)
    after.start("inner", "root", [], langgraph_checkpoint_ns="tools:7")
    assert frame_of(after.start("step", "inner", NODE)) is inner
    assert (inner.trajectory, inner.resumed) == (before.id_of("inner"), True)
    after.start("sibling", "root", [], langgraph_checkpoint_ns="tools:8")
    assert frame_of(after.start("its step", "sibling", NODE)).trajectory == after.id_of("sibling")


def test_graphs_that_share_a_thread_are_not_taken_for_each_other() -> None:
    threads = Threads()
    tree = Tree(threads)
    forgotten, frame = (frame_of(tree.start(name, graph=name, thread_id="a")) for name in ("zero", "one"))
    for number, one in enumerate((forgotten, frame)):
        one.checkpoint = f"checkpoint {number}"
        tree.runs.pause(one)
    run = tree.start("other", graph="other", thread_id="a", continues=True)
    tree.runs.confirm(tree.ids["other"], "checkpoint 0")
    other = frame_of(run)
    assert (other.trajectory, other.conversation, other.graph) == ("", "a", "other")
    again = tree.start("again", thread_id="a", continues=True)
    tree.runs.confirm(tree.ids["again"], "checkpoint 1")
    tree.runs.confirm(uuid4(), "checkpoint 1")
    assert again.frame is frame


def test_a_state_that_people_have_changed_goes_on_all_the_same() -> None:
    threads = Threads()
    tree = Tree(threads)
    frame = frame_of(tree.start("one", thread_id="a"))
    frame.checkpoint = "checkpoint 1"
    tree.runs.pause(frame)
    run = tree.start("again", thread_id="a", continues=True)
    tree.runs.confirm(tree.ids["again"], "checkpoint 2")
    assert run.frame is frame


def test_without_a_thread_nothing_can_be_continued() -> None:
    threads = Threads()
    threads.keep(Frame("run"))
    assert threads.take("", "") is None
    tree = Tree(threads)
    assert frame_of(tree.start("root", continues=True)).trajectory == tree.id_of("root")


def test_a_name_in_the_metadata_is_the_root_s_alone() -> None:
    tree = Tree()
    label = {"tutelage_trajectory": "order 17"}
    assert frame_of(tree.start("root", **label)).trajectory == "order 17"
    tree.start("inner", "root", [], **label)
    frame = frame_of(tree.start("step", "inner", NODE, **label))
    assert (frame.trajectory, frame.parent) == (tree.id_of("inner"), "order 17")
    tree.start("named", "root", [])
    assert frame_of(tree.start("its step", "named", NODE, tutelage_trajectory="sub")).trajectory == "sub"


def test_every_map_is_bounded() -> None:
    threads = Threads(most=10)
    tree = Tree(threads, most=50)
    tree.start("root", thread_id="a")
    for number in range(500):
        tree.start(f"run {number}", "root")
        threads.keep(Frame(str(number), thread=str(number)))
    assert len(tree.runs) == 50
    kept = [number for number in range(500) if threads.take(str(number), "")]
    assert kept == list(range(490, 500))
    # The root was forgotten: what comes is left alone, and ending it is no error.
    assert tree.start("late", "root").frame is None
    assert tree.runs.end(tree.ids["root"]) is None


@pytest.mark.parametrize(
    ("graph", "node", "hint"),
    [
        ("", "plan", "plan"),
        ("desk", "plan", "desk.plan"),
        ("desk", "model", "desk"),
        ("", "model", ""),
        ("", "agent", ""),
        ("chain", "", ""),
    ],
)
def test_hints_are_the_names_that_somebody_gave(graph: str, node: str, hint: str) -> None:
    assert hint_of(graph, {"langgraph_node": node}) == hint
    assert hint_of(graph, {"langgraph_node": node, "tutelage_pattern": "mine"}) == "mine"


_event = st.tuples(st.sampled_from(["start", "node", "call", "end"]), st.integers(0, 20), st.integers(0, 20))


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_event, max_size=40))
def test_any_order_of_events_leaves_a_tree(events: list[tuple[str, int, int]]) -> None:
    runs, ids = Runs(Threads(), most=8), [UUID(int=number) for number in range(21)]
    for kind, run, parent in events:
        if kind == "end":
            runs.end(ids[run])
            continue
        above = ids[parent] if parent else None
        tags = NODE if kind == "node" else None
        started = runs.start(ids[run], above, {"thread_id": "t"}, tags=tags, is_call=kind == "call")
        assert len(tag_of(started, {}).headers()) <= 4
    assert len(runs) <= 8
