"""Which sessions a student learns from, and which it is examined on.

Only successful sessions count. Out go, for both sides: sessions that a tool's result took over (`hijack`), those under
another tool set, those whose teacher may not be learnt from. On the training side also answers that the teacher does
not mostly give (`mistakes`), and repetitions: exact ones (same opening, same first action) and near ones
(`duplicates`), of each other or of a session of the examination. Where a limit binds, all intents get their share.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from ..traffic.canonical import canonical, canonical_message
from ..traffic.intents import balanced
from .curate import Contrast, Curated, Message, Trajectory, held_out
from .duplicates import Likeness, bare, best_likeness, without_near_duplicates
from .hijack import hijack_of
from .mistakes import inconsistent, repairs

Varying = Callable[[list[Message]], Any]
_SET_APART = {"not_successful": "failed", "hijacked": "hijacked"}


def curate(
    trajectories: Sequence[Trajectory],
    *,
    share: float,
    max_train: int,
    max_held_out: int,
    tools: Sequence[Message] | None = None,
    varying: Varying = lambda messages: messages,
    intent_of: Callable[[Trajectory], str] = lambda item: "",
    allowed: Callable[[str], bool] = lambda model: True,
    likeness: Callable[[], Likeness] = best_likeness,
) -> Curated:
    """Choose and split. `share`: part of the sessions held out, 0 to 1; the newest are kept where a limit binds.

    `tools`: the agent's tool set; sessions recorded under another one are left out, for their prompt is another.
    `varying`: the part of a session's opening messages that the student sees.
    `intent_of`: what a session is about; where the limit binds, all intents get their share of the training side.
    `allowed`: whether answers of a model may be learnt from. `likeness`: what near-duplicates are told by."""
    usable, contrast, dropped = _usable(trajectories, tools, allowed)
    examined = [item for item in usable if held_out(item.session, share)]
    taught = [item for item in usable if not held_out(item.session, share)]
    dropped["over_limit"] = max(0, len(examined) - max_held_out)
    examined = examined[:max_held_out]
    wrong = {item.trajectory_id for item in inconsistent(taught, varying)}
    contrast += [Contrast(item, "inconsistent") for item in taught if item.trajectory_id in wrong]
    consistent = [item for item in taught if item.trajectory_id not in wrong]
    different = _without_repeats(consistent, examined, varying)
    apart, near = without_near_duplicates(different, likeness, examined)
    chosen = balanced(apart, intent_of, max_train)
    dropped["inconsistent"] = len(wrong)
    dropped["duplicate"] = len(consistent) - len(different)
    dropped["near_duplicate"] = len(near)
    dropped["over_limit"] += len(apart) - len(chosen)
    return Curated(
        train=chosen,
        held_out=examined,
        dropped={name: count for name, count in dropped.items() if count},
        contrast=sorted(contrast, key=_newest_first)[:max_train],
        labels=dict(Counter(item.success_source or "unknown" for item in [*chosen, *examined])),
        repaired=sum(bool(repairs(item.messages)) for item in chosen),
    )


def _usable(
    trajectories: Iterable[Trajectory], tools: Sequence[Message] | None, allowed: Callable[[str], bool]
) -> tuple[list[Trajectory], list[Contrast], Counter[str]]:
    """The sessions that may be learnt from, newest first; those to set apart; how many were left out, by reason."""
    dropped: Counter[str] = Counter()
    usable: list[Trajectory] = []
    contrast: list[Contrast] = []
    wanted = None if tools is None else _tool_key(tools)
    for recorded in sorted(trajectories, key=_started, reverse=True):
        item = _with_terms(recorded, allowed)
        reason = _unusable(item, wanted)
        if not reason:
            usable.append(item)
            continue
        dropped[reason] += 1
        # Runs of which nobody knows how they ended teach nothing by contrast either.
        ended_badly = reason == "hijacked" or (reason == "not_successful" and item.success is False)
        if ended_badly and item.trainable and (wanted is None or _tool_key(item.tools) == wanted):
            contrast.append(Contrast(item, _SET_APART[reason]))
    return usable, contrast, dropped


def _with_terms(item: Trajectory, allowed: Callable[[str], bool]) -> Trajectory:
    if all(allowed(call.model) for call in item.calls if call.route == "teacher"):
        return item
    return replace(item, calls=tuple(replace(call, allowed=allowed(call.model)) for call in item.calls))


def _started(item: Trajectory) -> float:
    return item.calls[0].started_at if item.calls else 0.0


def _newest_first(one: Contrast) -> float:
    return -_started(one.item)


def _unusable(item: Trajectory, tools: bytes | None) -> str:
    if not item.success:
        return "not_successful"
    if not item.trainable:
        return "not_allowed" if any(not call.allowed for call in item.calls) else "no_teacher_turn"
    if tools is not None and _tool_key(item.tools) != tools:
        return "other_tools"
    return "hijacked" if hijack_of(item.messages) else ""


def _tool_key(tools: Sequence[Message]) -> bytes:
    return canonical(sorted(tools, key=lambda tool: str((tool.get("function") or {}).get("name"))))


def _without_repeats(items: Sequence[Trajectory], examined: Sequence[Trajectory], varying: Varying) -> list[Trajectory]:
    seen = {_opening(item, varying) for item in examined}
    kept: list[Trajectory] = []
    for item in items:
        key = _opening(item, varying)
        if key not in seen:
            seen.add(key)
            kept.append(item)
    return kept


def _opening(item: Trajectory, varying: Varying) -> bytes:
    """What the student reads before its first answer, and that answer without its call ids."""
    first = item.trainable[0].index
    answer = canonical_message(bare(item.messages[first]))
    return hashlib.sha256(canonical(varying(item.messages[:first])) + b"\0" + answer).digest()
