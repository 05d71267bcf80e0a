"""Lists of records: read whole, shown shorter."""

from hypothesis import given
from hypothesis import strategies as st

from tutelage.traffic.record_lists import RecordForm, read, shown, values_of, written

HOUSE = """\
- names: Hall Lamp
  domain: light
  state: 'on'
  areas: Hall
  attributes:
    brightness: '100'
    colours:
      warm: 'it''s'
- names: Kettle, Water Boiler
  domain: switch
  state: "off"
  areas: Kitchen
- names: Hall Humidity
  domain: sensor
  areas: Hall""".splitlines()


def test_fields_are_flat_and_values_without_quotes() -> None:
    lamp, kettle, _ = read(HOUSE) or []
    assert lamp == {
        "names": "Hall Lamp",
        "domain": "light",
        "state": "on",
        "areas": "Hall",
        "attributes.brightness": "100",
        "attributes.colours.warm": "it's",
    }
    assert kettle["state"] == "off"


def test_an_indented_list_with_items_on_lines_of_their_own_fields() -> None:
    assert read(["  - id: 1", "    text: a: b", "  - id: 2"]) == [{"id": "1", "text": "a: b"}, {"id": "2"}]


def test_a_list_inside_a_record_belongs_to_it() -> None:
    assert read(["- name: a", "  parts:", "    - size: 3"]) == [{"name": "a", "parts.size": "3"}]


def test_what_is_no_list_of_records_is_said() -> None:
    assert read(["- names: Lamp", "  and some prose"]) is None
    assert read(["names: Lamp"]) is None
    assert read([]) == []


def test_the_form_chooses_fields_hides_kinds_and_says_nothing_twice() -> None:
    form = RecordForm(fields=["names", "domain", "areas"], hidden={"domain": ["sensor"]})
    records = read(HOUSE) or []
    assert written(records, form) == ["Hall Lamp|light", "Kettle, Water Boiler|switch|Kitchen"]
    assert [record["names"] for record in shown(records, form)] == ["Hall Lamp", "Kettle, Water Boiler"]


def test_a_bar_in_a_value_opens_no_field() -> None:
    assert written([{"names": "a|b", "domain": "x"}], RecordForm(fields=["names", "domain"])) == ["a/b|x"]


def test_values_come_whole_and_in_parts() -> None:
    assert values_of(read(HOUSE) or [], "names") == [
        "Hall Lamp",
        "Kettle, Water Boiler",
        "Kettle",
        "Water Boiler",
        "Hall Humidity",
    ]
    assert values_of(read(HOUSE) or [], "areas") == ["Hall", "Kitchen"]


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), min_size=1, max_size=12).map(str.strip)


@given(st.lists(st.dictionaries(st.sampled_from(["b", "c", "d"]), WORDS.filter(bool), max_size=3), max_size=5))
def test_records_written_as_a_list_are_read_again(items: list[dict[str, str]]) -> None:
    records = [{"a": "name", **item} for item in items]
    lines = [
        f"{'- ' if place == 0 else '  '}{key}: '{value.replace(chr(39), chr(39) * 2)}'"
        for record in records
        for place, (key, value) in enumerate(record.items())
    ]
    assert read(lines) == records


@given(st.lists(st.text(max_size=30), max_size=6))
def test_any_lines_are_read_or_refused(lines: list[str]) -> None:
    found = read(lines)
    assert found is None or all(isinstance(record, dict) for record in found)
