"""The constant part of a system prompt, and what is left when it is taken away.

A prompt is read as lines. Three kinds of things are volatile by their form alone, whatever has been seen before:

    times, dates, ids and e-mail addresses   masked inside their line (`mask`)
    lists of records, such as devices        replaced as a whole by one RECORDS line (`reduce`)

Everything else is constant until the traffic shows that it is not. A `Skeleton` is a sequence of such lines in which
GAP stands for any number of lines that differ from call to call, and WILD for a part of one line that does.

Invariant: nothing that varies is ever lost. `Skeleton.varying` shows each line that the skeleton does not pin down
word for word, in order, and each masked value; a prompt that does not match the skeleton is shown whole.
"""

import re
from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

import msgspec

GAP = "⟨…⟩"
"""A line of a skeleton: any number of lines, also none."""
WILD = "⟨*⟩"
"""Part of a line of a skeleton: any text without a line break."""
RECORDS = "⟨records⟩"
"""A reduced line: a list of `- key: value` records of any length."""

_MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?"
    r"|Sep(?:t(?:ember)?)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)\.?"
)
_WEEKDAY = r"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
_CLOCK = r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?(?: ?[AaPp]\.?[Mm]\b\.?)?(?:Z| ?[+-]\d{2}:?\d{2})?"
_DAY = (
    rf"(?:{_WEEKDAY},? )?(?:\d{{4}}[-/.]\d{{1,2}}[-/.]\d{{1,2}}|\d{{1,2}}/\d{{1,2}}/\d{{2,4}}"
    rf"|\d{{1,2}}[-.]\d{{1,2}}[-.]\d{{4}}|{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?(?:,? \d{{4}})?"
    rf"|\d{{1,2}}(?:st|nd|rd|th)? (?:of )?{_MONTH}(?:,? \d{{4}})?)"
)
_UUID = r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
_HEX = r"(?=[0-9a-f]*[a-f])(?=[0-9a-f]*\d)[0-9a-f]{8,}+"
_NAMED_ID = r"[A-Za-z]++[-_#](?=[A-Za-z0-9]*?\d{4})[A-Za-z0-9]++"
_EMAIL = r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"
# Neither a word character nor another placeholder may touch a value: masking a masked line then changes nothing.
# Every repetition is bounded or possessive: a hostile line costs time in proportion to its length, not to its square.
_VOLATILE = re.compile(
    rf"(?<![\w⟩])(?:(?P<id>{_UUID}|{_HEX}|{_NAMED_ID}|\d{{5,}}+)"
    rf"|(?P<date>(?:{_DAY})(?:T{_CLOCK})?|(?:(?<= is )|(?<=: )){_WEEKDAY})"
    rf"|(?P<time>{_CLOCK})|(?P<email>{_EMAIL}))(?![\w⟨])",
    re.ASCII,
)
_SUSPECT = re.compile(r"[0-9@]|day\b")
# A list of records, in a text that begins with a line break: items `- key: value` at one indentation, and all deeper
# lines below them.
_ITEM = r"- [a-z][a-z0-9_]*+:(?:[ \r].*+)?+$"
_LIST = re.compile(rf"\n( *+){_ITEM}(?:\n\1(?: ++\S.*+|{_ITEM}))*+", re.MULTILINE)
# Only a further field makes it a list of records; without one it is a list of points, which may well be instructions.
_FIELD = re.compile(r"\n +[a-z][a-z0-9_]*:(?:[ \r\n]|\Z)")
_MOST_LINES = 32_768
_LONG_LINE = 2_000
_PLACEHOLDER = re.compile(r"⟨(id|date|time|email)⟩")


class Part(NamedTuple):
    """A varying part of a prompt."""

    kind: str
    """`records`: a list of records; `values`: the masked values of one line; `line`: a line as it stands."""
    lines: list[str]
    """Its original lines; of `values`, the values themselves."""
    value_kinds: tuple[str, ...] = ()
    """Of `values`: what each is (`id`, `date`, `time`, `email`); empty when that cannot be told."""


class Reduced(NamedTuple):
    """A prompt with its volatile forms taken out."""

    lines: list[str]
    spans: list[tuple[int, int]]
    """For each reduced line, the original lines [start, end) that it stands for."""


def mask(line: str) -> tuple[str, list[str]]:
    """The line with its volatile values replaced by placeholders, and those values in order. Idempotent."""
    line = line.rstrip().replace(GAP, "⟨...⟩").replace(WILD, "⟨.⟩")  # lest a prompt that quotes them be a skeleton
    if not _SUSPECT.search(line):
        return line, []
    values: list[str] = []

    def placeholder(match: re.Match[str]) -> str:
        values.append(match.group())
        return f"⟨{match.lastgroup}⟩"

    return _VOLATILE.sub(placeholder, line), values


class _Masked(dict[str, str]):
    """Masked lines by line: prompts repeat most of their lines, so each is analysed once."""

    def __missing__(self, line: str) -> str:
        masked = mask(line)[0]
        if len(line) < _LONG_LINE:
            if len(self) >= _MOST_LINES:
                self.clear()  # no bookkeeping per hit; the lines in use are back after one call
            self[line] = masked
        return masked


_masked = _Masked()


def _record_lists(framed: str) -> Iterator[tuple[int, int]]:
    """Spans of the lists of records in a text that begins with a line break; each span does too."""
    for found in _LIST.finditer(framed):
        if _FIELD.search(framed, *found.span()):
            yield found.span()


def reduced_text(text: str) -> str:
    """The reduced lines of a prompt joined by line breaks, without blank lines at either end. Empty for no prompt."""
    framed, parts, done = "\n" + text, [], 0
    for start, end in _record_lists(framed):
        parts += map(_masked.__getitem__, framed[done + 1 : start].split("\n") if start > done else ())
        parts.append(RECORDS)
        done = end
    parts += map(_masked.__getitem__, framed[done + 1 :].split("\n"))
    return "\n".join(parts).strip("\n")


def reduce(text: str) -> Reduced:
    """The same reduction as `reduced_text`, keeping track of where each line came from."""
    framed, originals = "\n" + text, text.split("\n")
    reduced: list[str] = []
    spans: list[tuple[int, int]] = []
    done = 0
    for start, end in [*_record_lists(framed), (len(framed), len(framed))]:
        first, last = framed.count("\n", 0, start), framed.count("\n", 0, end)
        reduced += [mask(line)[0] for line in originals[done:first]]
        spans += [(index, index + 1) for index in range(done, first)]
        if last > first:
            reduced.append(RECORDS)
            spans.append((first, last))
        done = last
    first = next((i for i, line in enumerate(reduced) if line), len(reduced))
    last = next((i for i in range(len(reduced), first, -1) if reduced[i - 1]), first)
    return Reduced(reduced[first:last], spans[first:last])


def system_text(messages: list[Any]) -> str:
    """The text of the system and developer messages that open a conversation, joined by line breaks."""
    texts: list[str] = []
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in ("system", "developer"):
            break
        content = message.get("content")
        if isinstance(content, str):
            texts.append(content)
        elif isinstance(content, list):
            parts = [part.get("text") for part in content if isinstance(part, dict)]
            texts += [part for part in parts if isinstance(part, str)]
    return texts[0] if len(texts) == 1 else "\n".join(texts)


def written_part(part: Part) -> list[str]:
    """The lines that show a varying part as it is."""
    return [", ".join(part.lines)] if part.kind == "values" else part.lines


class _Block:
    """Lines of a skeleton that follow each other without a gap, ready to be found in a framed text."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.text = "\n" + "\n".join(lines) + "\n"
        self.pattern = None
        if WILD in self.text:
            self.pattern = re.compile("[^\n]*".join(map(re.escape, self.text.split(WILD))))

    def find(self, framed: str, position: int) -> int:
        if self.pattern is None:
            return framed.find(self.text, position)
        found = self.pattern.search(framed, position)
        return found.start() if found else -1

    def end(self, framed: str, position: int) -> int:
        """The end of the block when it stands at `position`, else -1."""
        if self.pattern is None:
            return position + len(self.text) if framed.startswith(self.text, position) else -1
        found = self.pattern.match(framed, position)
        return found.end() if found else -1

    def last(self, framed: str) -> int:
        """Where the last lines of the text begin, as many as the block has; negative when there are fewer."""
        if self.pattern is None:
            return len(framed) - len(self.text)
        place = len(framed) - 1
        for _ in self.lines:
            place = framed.rfind("\n", 0, max(place, 0))
        return place


class Skeleton(msgspec.Struct, frozen=True, dict=True):
    """The constant lines of a system prompt in order, with GAP and WILD where it varies."""

    lines: tuple[str, ...] = ()

    @cached_property
    def size(self) -> int:
        """Constant characters: what `largest` means when several skeletons match."""
        return sum(len(line.replace(WILD, "")) for line in self.lines if line != GAP)

    @cached_property
    def blocks(self) -> list[_Block]:
        groups: list[list[str]] = [[]]
        for line in self.lines:
            if line == GAP:
                groups.append([])
            else:
                groups[-1].append(line)
        return [_Block(group) for group in groups if group]

    def matches(self, reduced: str) -> bool:
        """Whether a prompt, given as `reduced_text`, has all constant lines in order and nothing outside the gaps."""
        return self._places(f"\n{reduced}\n") is not None

    def varying(self, system: str) -> list[str]:
        """What is not constant in this system prompt, in order: whole lines, or the values of a masked line.

        A skeleton without lines, or one that does not match, gives every line of the prompt.
        """
        return [line for part in self.parts(system) for line in written_part(part)]

    def parts(self, system: str) -> list[Part]:
        """What `varying` shows, by its kind."""
        whole = reduce(system)
        pinned = self._pinned(whole.lines)
        originals = system.split("\n")
        found: list[Part] = []
        for index, (start, end) in enumerate(whole.spans):
            if index not in pinned:
                kind = "records" if whole.lines[index] == RECORDS else "line"
                found.append(Part(kind, originals[start:end]))
                continue
            masked, values = mask(originals[start])
            kinds = tuple(_PLACEHOLDER.findall(masked))
            if values:
                # A prompt that spells a placeholder out has more of them than values: then none is told apart.
                found.append(Part("values", values, kinds if len(kinds) == len(values) else ()))
        return found

    def gaps(self, reduced: str) -> list[list[str]]:
        """The reduced lines that stand in each GAP. The prompt must match."""
        framed = f"\n{reduced}\n"
        borders = [*(self._places(framed) or []), (len(framed) - 1, 0)]
        contents: list[list[str]] = []
        before, number = 1, 0
        for line, following in zip(self.lines, [*self.lines[1:], GAP], strict=True):
            if line == GAP:
                between = framed[before : borders[number][0]]
                contents.append(between.split("\n") if borders[number][0] >= before else [])
            elif following == GAP:
                before, number = borders[number][1], number + 1
        return contents

    def _pinned(self, lines: list[str]) -> set[int]:
        """Indices of the reduced lines that the skeleton fixes up to their masked values."""
        framed = "\n" + "\n".join(lines) + "\n"
        places = self._places(framed) if self.lines and lines else None
        pinned: set[int] = set()
        for block, (start, _) in zip(self.blocks, places or [], strict=False):
            first = framed.count("\n", 0, start)
            pinned.update(first + i for i, line in enumerate(block.lines) if line != RECORDS and WILD not in line)
        return pinned

    def _places(self, framed: str) -> list[tuple[int, int]] | None:
        """Start and end of each block in the text framed by line breaks; None when the text does not match.

        Taking the earliest place for each block is enough: it leaves the most room for the ones that follow.
        """
        if not self.lines:
            return [] if framed == "\n\n" else None
        from_start, to_end = self.lines[0] != GAP, self.lines[-1] != GAP
        places: list[tuple[int, int]] = []
        position = 0
        for block in self.blocks:
            if to_end and block is self.blocks[-1]:
                start = block.last(framed)
            else:
                start = 0 if from_start and not places else block.find(framed, position)
            end = block.end(framed, start) if start >= position else -1
            if end < 0:
                return None
            places.append((start, end))
            position = end - 1  # the line break that ends this block may begin the next
        return None if from_start and places[0][0] else places
