"""Which parts of the varying prompt the actions need: learnt from the training sessions, kept with the version.

The teacher's answers say what matters. A field of the records is shown when answers name its values; records of a kind
that no answer ever meant are left out; clocks and dates are left out when no answer ever repeats one; and an argument
whose values always come from one field is held to that field's values (`serving.grounding`). Whatever is left out
is left out in training and in serving alike; the examination and the gate then say whether it was needed.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ..serving.render import varying_parts
from ..traffic import record_lists
from ..traffic.actions import action_of
from ..traffic.record_lists import Record, RecordForm
from ..traffic.skeleton import system_text
from ..traffic.students import PromptSpec
from .curate import Trajectory

ENOUGH = 100
"""Calls that must have been seen before anything is left out."""
NEEDED = 0.02
"""A field is shown when at least this share of the calls name one of its values."""
EXPECTED = 20
"""Times that records of a kind would have been meant if all records were meant alike, and lists that come again: fewer
say nothing about it."""
NEVER = 0.05
"""Records of a kind are left out when they are meant at most this part as often as that."""
ALWAYS = 0.99
"""An argument is grounded when at least this share of its values come from the field."""
FEW = 5
"""Uses of an argument that must have been seen before it is grounded."""
SHUFFLED = 0.2
"""Records are sorted when at least this share of the lists that come again come in another order."""
KINDS_LIMIT = 32
"""A field with more different values than this does not tell kinds of records apart."""


@dataclass
class _Seen:
    """What the training calls say."""

    calls: int = 0
    listed: int = 0
    """Calls whose prompt holds records."""
    cited: Counter[str] = field(default_factory=Counter)
    """Calls that name a value, by field."""
    records: dict[str, Counter[str]] = field(default_factory=dict)
    """Records by field and value."""
    meant: dict[str, Counter[str]] = field(default_factory=dict)
    """Calls that mean a record, by field and value of that record."""
    uses: Counter[str] = field(default_factory=Counter)
    """Uses of an argument in calls whose prompt holds records."""
    found: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Uses of an argument whose values are all values of a field."""
    repeated: set[str] = field(default_factory=set)
    """Kinds of masked values that answers repeat."""
    shown: Counter[str] = field(default_factory=Counter)
    """Calls whose prompt holds a masked value, by kind."""
    order: dict[str, None] = field(default_factory=dict)
    """Fields in the order of the prompts."""
    lists: list[list[Record]] = field(default_factory=list)
    """The records of each session."""


def learnt_form(trajectories: Iterable[Trajectory], spec: PromptSpec) -> PromptSpec:
    """`spec` with the form that these training sessions ask for; unchanged unless it is internalised."""
    if spec.mode != "internalised":
        return spec
    seen = _Seen()
    for item in trajectories:
        _look(seen, item, spec)
    hides = sorted(kind for kind, calls in seen.shown.items() if calls >= ENOUGH and kind not in seen.repeated)
    if not seen.listed:
        return msgspec.structs.replace(spec, hides=hides)
    return msgspec.structs.replace(spec, hides=hides, records=_form(seen), grounded=_grounded(seen))


def _look(seen: _Seen, item: Trajectory, spec: PromptSpec) -> None:
    parts = varying_parts(system_text(item.messages), spec)
    records = [record for part in parts if part.kind == "records" for record in record_lists.read(part.lines) or []]
    masked = {(kind, value) for part in parts for kind, value in zip(part.value_kinds, part.lines, strict=False)}
    seen.lists.append(records)
    for record in records:
        seen.order.update(dict.fromkeys(record))
        for name, value in record.items():
            seen.records.setdefault(name, Counter())[value] += 1
    for call in item.trainable:
        action = action_of(item.messages[call.index])
        arguments = [(name, value) for one in action.calls for name, value in (one.arguments or {}).items()]
        said = [text for _, value in arguments for text in _texts(value)] + [action.text]
        seen.calls += 1
        seen.shown.update({kind for kind, _ in masked})
        seen.repeated.update(kind for kind, value in masked if any(value in text for text in said))
        if records:
            _look_at_records(seen, records, arguments, said)


def _look_at_records(seen: _Seen, records: Sequence[Record], arguments: list[tuple[str, Any]], said: list[str]) -> None:
    seen.listed += 1
    whole = {text.casefold() for text in said[:-1]}
    text = said[-1].casefold()
    fields = dict.fromkeys(name for record in records for name in record)
    values = {name: record_lists.values_of(records, name) for name in fields}
    for name, known in values.items():
        seen.cited[name] += any(value.casefold() in whole or value.casefold() in text for value in known)
    identity = next(iter(fields))
    for record in records:
        if record.get(identity, "").casefold() in whole or (text and record.get(identity, "").casefold() in text):
            for name, value in record.items():
                seen.meant.setdefault(name, Counter())[value] += 1
    for argument, value in arguments:
        if texts := list(_texts(value)):
            seen.uses[argument] += 1
            seen.found.update((argument, name) for name, known in values.items() if set(texts) <= set(known))


def _texts(value: Any) -> Iterator[str]:
    """The strings in an argument: itself, or the items of a list."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        yield from (item for item in value if isinstance(item, str))


def _form(seen: _Seen) -> RecordForm:
    if seen.listed < ENOUGH:
        return RecordForm(fields=list(seen.order))
    fields = [name for name in seen.order if seen.cited[name] >= NEEDED * seen.listed]
    # What a record is called stays in any case.
    fields = fields or [next(iter(seen.order))]
    form = RecordForm(fields=fields, hidden=_hidden(seen, fields[1:]))
    return msgspec.structs.replace(form, ordered=not _shuffled(seen, form))


def _shuffled(seen: _Seen, form: RecordForm) -> bool:
    """Whether the traffic itself shows the same records in other orders, so that their order says nothing."""
    orders: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    times: Counter[tuple[str, ...]] = Counter()
    for records in seen.lists:
        lines = tuple(record_lists.written(records, form))
        same = tuple(sorted(lines))
        times[same] += 1
        orders.setdefault(same, set()).add(lines)
    again = [same for same, n in times.items() if n > 1 and len(same) > 1]
    enough = sum(times[same] for same in again) >= EXPECTED
    return enough and sum(len(orders[same]) > 1 for same in again) >= SHUFFLED * len(again)


def _hidden(seen: _Seen, fields: Sequence[str]) -> dict[str, list[str]]:
    """The kinds of records that are never meant, by the one field that tells most of them apart."""
    best: tuple[int, str, list[str]] = (0, "", [])
    for name in fields:
        kinds, meant = seen.records[name], seen.meant.get(name, Counter())
        if len(kinds) > KINDS_LIMIT:
            continue
        alike = meant.total() / kinds.total()
        never = sorted(
            value for value, n in kinds.items() if n * alike >= EXPECTED and meant[value] <= NEVER * n * alike
        )
        best = max(best, (sum(kinds[value] for value in never), name, never))
    return {best[1]: best[2]} if best[2] else {}


def _grounded(seen: _Seen) -> dict[str, str]:
    found: dict[str, str] = {}
    for argument, uses in seen.uses.items():
        best = max(seen.order, key=lambda name: seen.found[argument, name])
        if uses >= FEW and seen.found[argument, best] >= ALWAYS * uses:
            found[argument] = best
    return found
