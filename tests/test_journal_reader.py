"""Reading the journal: what is intact is found, what is not is reported."""

import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tutelage.traffic.errors import StoreTooNew
from tutelage.traffic.journal_files import Home
from tutelage.traffic.journal_reader import Damage, JournalReader
from tutelage.traffic.segments import HEAD_BYTES, HEADER, MAGIC, frame, marker_of

NAME = "00000001-00112233aabbccdd.seg"
KEY = f"w/{NAME}"
CONTENTS = [b"first", b"second " * 9, b"3", b"fourth" * 20, b"fifth"]


def segment_of(contents: list[bytes], name: str = NAME) -> bytes:
    marker = marker_of(name)
    return HEADER + b"".join(frame(marker, content) + content for content in contents)


def spans_of(contents: list[bytes]) -> list[tuple[int, int]]:
    ends = [len(HEADER)]
    for content in contents:
        ends.append(ends[-1] + HEAD_BYTES + len(content))
    return list(pairwise(ends))


def put(journal: Path, data: bytes, *, writer: str = "w", name: str = NAME) -> Path:
    """A segment of a writer that has died."""
    (journal / writer).mkdir(parents=True, exist_ok=True)
    path = journal / writer / name
    path.write_bytes(data)
    return path


def read_all(reader: JournalReader, limit: int = 1 << 20) -> tuple[list[bytes], list[Damage], dict[str, int]]:
    positions: dict[str, int] = {}
    records: list[bytes] = []
    damaged: list[Damage] = []
    while True:
        batch = reader.read(positions, limit)
        records += batch.records
        damaged += batch.damaged
        if batch.positions == positions:
            return records, damaged, positions
        positions = batch.positions


@pytest.fixture
def living(tmp_path: Path) -> Iterator[Path]:
    """The folder of a writer that lives."""
    home = Home(tmp_path)
    yield home.path
    home.leave()


def test_a_torn_tail_of_a_dead_writer_is_cut_and_reported(tmp_path: Path) -> None:
    whole, spans, reader = segment_of(CONTENTS), spans_of(CONTENTS), JournalReader(tmp_path)
    for size in range(len(whole) + 1):
        path = put(tmp_path, whole[:size])
        records, damaged, positions = read_all(reader)
        assert records == [content for content, (_, stop) in zip(CONTENTS, spans, strict=True) if stop <= size]
        end = max([stop for _, stop in spans if stop <= size], default=len(HEADER) if size >= len(HEADER) else 0)
        assert damaged == ([Damage(KEY, end, size, "torn")] if size > end else [])
        assert positions == {KEY: size}
        assert reader.finished(positions) == [path]


def test_the_tail_of_a_living_writer_is_left_for_later(tmp_path: Path, living: Path) -> None:
    whole, reader, key = segment_of(CONTENTS), JournalReader(tmp_path), f"{living.name}/{NAME}"
    for size in range(len(whole) + 1):
        (living / NAME).write_bytes(whole[:size])
        records, damaged, positions = read_all(reader)
        assert records == CONTENTS[: len(records)]
        assert damaged == []
        assert reader.finished(positions) == []
        (living / NAME).write_bytes(whole)
        later = reader.read(positions)
        assert records + later.records == CONTENTS
        assert (later.damaged, later.positions) == ([], {key: len(whole)})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    flips=st.lists(st.tuples(st.integers(0, len(segment_of(CONTENTS)) - 1), st.integers(0, 7)), min_size=1, max_size=4)
)
def test_flipped_bits_cost_only_the_records_they_hit(tmp_path: Path, flips: list[tuple[int, int]]) -> None:
    data, spans = bytearray(segment_of(CONTENTS)), spans_of(CONTENTS)
    for offset, bit in set(flips):
        data[offset] ^= 1 << bit
    hit = {offset for offset, _ in flips}
    kept = [c for c, (start, stop) in zip(CONTENTS, spans, strict=True) if not hit & set(range(start, stop))]
    assume(kept)
    put(tmp_path, bytes(data))
    records, damaged, positions = read_all(JournalReader(tmp_path))
    assert records == kept
    assert all(any(damage.start <= offset < damage.stop for damage in damaged) for offset in hit)
    assert sum(damage.size for damage in damaged) + sum(HEAD_BYTES + len(r) for r in records) >= len(data) - len(HEADER)
    assert positions == {KEY: len(data)}


def spoil(data: bytearray, how: str, at: int, other: int, size: int) -> None:
    """Damage as disks, file systems and people do it."""
    if how == "flip":
        data[at % len(data)] ^= 1 << other % 8
    elif how == "truncate":
        del data[at:]
    elif how == "hole":
        del data[at : at + size]
    elif how == "zeros":
        data[at : at + size] = bytes(len(data[at : at + size]))
    elif how == "twice":
        data[at:at] = data[other : other + size]
    else:
        data[at : at + size] = data[other : other + size]


MANY = [b"%03d" % number + random.Random(number).randbytes(number**2 % 97) for number in range(25)]
PLACES = st.integers(0, len(segment_of(MANY)) - 1)
HARM = st.tuples(
    st.sampled_from(["flip", "truncate", "hole", "zeros", "twice", "misplaced"]), PLACES, PLACES, st.integers(1, 400)
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(harms=st.lists(HARM, min_size=1, max_size=5), limit=st.sampled_from([1, 100, 500, 1 << 20]))
def test_whatever_happens_to_a_segment_what_is_intact_is_read(
    tmp_path: Path, harms: list[tuple[str, int, int, int]], limit: int
) -> None:
    data = bytearray(segment_of(MANY))
    for harm in harms:
        if data:
            spoil(data, *harm)
    frames = {content: frame(marker_of(NAME), content) + content for content in MANY}
    assume(any(whole in data for whole in frames.values()))
    put(tmp_path, bytes(data))
    records, damaged, positions = read_all(JournalReader(tmp_path), limit)
    # A stretch that stands there twice is read twice: a segment cannot tell, and ingest knows calls by their ids.
    assert {content: records.count(content) for content in MANY} == {c: data.count(frames[c]) for c in MANY}
    assert set(records) <= set(MANY)
    if not {how for how, *_ in harms} & {"twice", "misplaced"}:
        assert records == [content for content in MANY if frames[content] in data]
    # Every byte is a record's, or reported.
    header = len(HEADER) if data.startswith(HEADER) else 0
    assert header + sum(HEAD_BYTES + len(r) for r in records) + sum(d.size for d in damaged) == len(data)
    assert {damage.reason for damage in damaged} <= {"damaged", "torn"}
    assert positions == {KEY: len(data)}


def test_damage_before_intact_records_of_a_living_writer_is_reported_at_once(tmp_path: Path, living: Path) -> None:
    data = bytearray(segment_of(CONTENTS))
    (start, stop), *_ = spans_of(CONTENTS)[1:]
    data[stop - 1] ^= 1
    (living / NAME).write_bytes(data)
    batch = JournalReader(tmp_path).read({})
    assert batch.records == [*CONTENTS[:1], *CONTENTS[2:]]
    assert batch.damaged == [Damage(f"{living.name}/{NAME}", start, stop, "damaged")]


def test_a_run_of_zeros_is_damage(tmp_path: Path) -> None:
    data, (start, stop) = segment_of(CONTENTS), spans_of(CONTENTS)[3]
    put(tmp_path, data[:start] + bytes(stop - start) + data[stop:])
    records, damaged, _ = read_all(JournalReader(tmp_path))
    assert records == CONTENTS[:3] + CONTENTS[4:]
    assert damaged == [Damage(KEY, start, stop, "damaged")]


@pytest.mark.parametrize("limit", [1, 7, 64, 200, 10_000])
def test_every_record_comes_once_whatever_the_limit(tmp_path: Path, limit: int) -> None:
    chance = random.Random(1)
    contents = [chance.randbytes(chance.randint(1, 300)) for _ in range(40)]
    data = bytearray(segment_of(contents))
    start, stop = spans_of(contents)[20]
    data[start + HEAD_BYTES] ^= 1
    put(tmp_path, bytes(data))
    records, damaged, _ = read_all(JournalReader(tmp_path), limit)
    assert records == contents[:20] + contents[21:]
    assert damaged == [Damage(KEY, start, stop, "damaged")]


def test_the_limit_is_shared_between_writers(tmp_path: Path) -> None:
    for writer in ("a", "b"):
        put(tmp_path, segment_of([writer.encode() * 100] * 50), writer=writer)
    batch = JournalReader(tmp_path).read({}, 1000)
    assert batch.records == [b"a" * 100] * 4 + [b"b" * 100] * 4
    assert JournalReader(tmp_path).backlog(batch.positions) == 2 * 46 * (100 + HEAD_BYTES)
    # Where a record counts as more than it is long, the number is what is limited.
    assert JournalReader(tmp_path).read({}, 1000, 250).records == [b"a" * 100] * 2 + [b"b" * 100] * 2


def test_segments_of_a_writer_come_in_order(tmp_path: Path) -> None:
    names = [f"{serial:08d}-aa.seg" for serial in (10, 9, 11)]
    for name in names:
        put(tmp_path, segment_of([name.encode()], name), name=name)
    assert read_all(JournalReader(tmp_path), 1)[0] == sorted(name.encode() for name in names)


def test_only_what_is_read_and_cannot_grow_is_finished(tmp_path: Path, living: Path) -> None:
    reader, first, second = JournalReader(tmp_path), "00000001-aa.seg", "00000002-aa.seg"
    for name in (first, second):
        (living / name).write_bytes(segment_of(CONTENTS, name))
    assert reader.finished({}) == []
    positions = reader.read({}).positions
    assert reader.finished(positions) == [living / first]
    assert reader.finished({key: size - 1 for key, size in positions.items()}) == []
    reader.delete([living / first])
    assert [path.name for path in living.iterdir() if path.suffix == ".seg"] == [second]
    assert list(reader.read(positions).positions) == [f"{living.name}/{second}"]


def test_an_empty_segment_in_reserve_seals_nothing(tmp_path: Path, living: Path) -> None:
    reader, first, second = JournalReader(tmp_path), "00000001-aa.seg", "00000002-aa.seg"
    whole = segment_of(CONTENTS, first)
    (living / first).write_bytes(whole[:-3])
    (living / second).write_bytes(HEADER)
    batch = reader.read({})
    assert (batch.records, batch.damaged) == (CONTENTS[:-1], [])
    (living / first).write_bytes(whole)
    batch = reader.read(batch.positions)
    assert (batch.records, batch.damaged) == (CONTENTS[-1:], [])
    assert reader.finished(batch.positions) == []
    assert reader.backlog(batch.positions) == 0
    (living / second).write_bytes(segment_of([b"x"], second)[:-1])
    assert reader.finished(batch.positions) == [living / first]


def test_the_reserve_of_a_dead_writer_goes_without_a_word(tmp_path: Path) -> None:
    for size in (0, len(HEADER)):
        put(tmp_path, segment_of(CONTENTS))
        put(tmp_path, HEADER[:size], name="00000002-aa.seg")
        reader = JournalReader(tmp_path)
        records, damaged, positions = read_all(reader)
        assert (records, damaged) == (CONTENTS, [])
        reader.delete(reader.finished(positions))
        assert list(tmp_path.iterdir()) == []


def test_deleting_the_last_segment_of_a_dead_writer_removes_its_folder(tmp_path: Path, living: Path) -> None:
    reader = JournalReader(tmp_path)
    put(tmp_path, segment_of(CONTENTS))
    (tmp_path / "w" / "lock").touch()
    positions = read_all(reader)[2]
    reader.delete(reader.finished(positions))
    assert [path.name for path in tmp_path.iterdir()] == [living.name]
    assert reader.read(positions).positions == {}


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    data = segment_of(CONTENTS)
    put(tmp_path, MAGIC + b"\x02" + b"something new")
    with pytest.raises(StoreTooNew, match="format 2"):
        JournalReader(tmp_path).read({})
    put(tmp_path, MAGIC + b"\x02" + data[len(HEADER) :])
    records, damaged, _ = read_all(JournalReader(tmp_path))
    assert records == CONTENTS
    assert damaged == [Damage(KEY, 0, len(HEADER), "damaged")]


def test_a_damaged_version_is_no_later_format_however_far_the_next_record_is(tmp_path: Path) -> None:
    data = bytearray(segment_of([b"x" * 1000, b"y"]))
    data[len(HEADER) - 1] = 9
    data[spans_of([b"x" * 1000])[0][1] - 1] ^= 1
    put(tmp_path, bytes(data))
    assert read_all(JournalReader(tmp_path), limit=10)[0] == [b"y"]


def test_a_segment_that_cannot_be_read_holds_up_nothing(tmp_path: Path) -> None:
    (tmp_path / "a" / NAME).mkdir(parents=True)
    put(tmp_path, segment_of(CONTENTS))
    batch = JournalReader(tmp_path).read({})
    assert batch.records == CONTENTS
    assert [(damage.segment, damage.size) for damage in batch.damaged] == [(f"a/{NAME}", 0)]
    assert batch.damaged[0].reason.startswith("unreadable: ")
    assert batch.positions[f"a/{NAME}"] == 0


def test_no_journal_is_an_empty_one(tmp_path: Path) -> None:
    batch = JournalReader(tmp_path / "none").read({"old/1.seg": 5})
    assert (batch.records, batch.positions, batch.damaged) == ([], {}, [])
