"""What a recogniser says."""

from tutelage.distill.findings import Finding


def test_findings_are_values() -> None:
    assert Finding("PERSON", 0, 4, 0.5) == Finding("PERSON", 0, 4, 0.5)
    assert len({Finding("PERSON", 0, 4, 0.5), Finding("PERSON", 0, 4, 0.5)}) == 1
