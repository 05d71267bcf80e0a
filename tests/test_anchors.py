from tutelage.distill.anchors import anchors, digest


def test_anchors_never_change():
    """A changed prompt would make the figures of two versions incomparable: add a new set instead."""
    assert (digest("examine"), digest("rehearse")) == ("6232a8543ee5", "a678c51f404d")


def test_no_prompt_is_both_rehearsed_and_examined():
    assert set(anchors("examine")).isdisjoint(anchors("rehearse"))
    for use in ("examine", "rehearse"):
        assert len(set(anchors(use))) == len(anchors(use)) >= 24
        assert all(line.strip() == line and line for line in anchors(use))
