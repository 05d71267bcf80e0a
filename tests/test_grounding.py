"""Arguments held to the prompt's records."""

from typing import Any

from tutelage.serving.grounding import VALUES_LIMIT, grounded, records_shown
from tutelage.traffic.record_lists import RecordForm
from tutelage.traffic.students import PromptSpec

SYSTEM = """\
You run a house. The devices:
- names: Hall Lamp
  domain: light
- names: Kettle
  domain: switch
- names: Humidity
  domain: sensor"""
SPEC = PromptSpec(
    skeleton=["You run a house. The devices:", "⟨records⟩"],
    version=2,
    records=RecordForm(fields=["names", "domain"], hidden={"domain": ["sensor"]}),
    grounded={"name": "names", "domain": "domain"},
)


def tool(**properties: Any) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {"name": "switch", "parameters": {"type": "object", "properties": properties}},
    }


def held(schema: dict[str, Any], *, spec: PromptSpec = SPEC, system: str = SYSTEM) -> dict[str, Any]:
    [found] = grounded([{"role": "system", "content": system}], [tool(name=schema)], spec)
    return found["function"]["parameters"]["properties"]["name"]


def test_a_string_and_the_items_of_an_array_get_the_values_that_the_student_sees() -> None:
    assert held({"type": "string", "maxLength": 9}) == {
        "type": "string",
        "maxLength": 9,
        "enum": ["Hall Lamp", "Kettle"],
    }
    assert held({"type": "array", "items": {"type": "string"}})["items"]["enum"] == ["Hall Lamp", "Kettle"]


def test_what_a_schema_fixes_itself_stays() -> None:
    for schema in (
        {"enum": ["a"], "type": "string"},
        {"const": 1},
        {"type": "integer"},
        {"anyOf": [{"type": "string"}]},
    ):
        assert held(schema) == schema


def test_nothing_changes_without_records_or_with_too_many() -> None:
    schema = {"type": "string"}
    assert held(schema, system="You run a house.") == schema
    many = "You run a house. The devices:\n" + "\n".join(f"- names: d{n}\n  domain: x" for n in range(VALUES_LIMIT + 1))
    assert held(schema, system=many) == schema
    assert held(schema, spec=PromptSpec(skeleton=SPEC.skeleton)) == schema


def test_tools_without_these_arguments_are_the_same_objects() -> None:
    other = tool(level={"type": "integer"})
    [found] = grounded([{"role": "system", "content": SYSTEM}], [other], SPEC)
    assert found is other


def test_the_records_are_those_that_are_shown() -> None:
    names = [record["names"] for record in records_shown([{"role": "system", "content": SYSTEM}], SPEC)]
    assert names == ["Hall Lamp", "Kettle"]
