"""The bounded cache: what is in use stays, what is not goes, the bound holds."""

from hypothesis import given
from hypothesis import strategies as st

from tutelage.traffic.cache import Generations, Sequel


def test_what_is_looked_up_survives_and_the_rest_is_forgotten() -> None:
    cache: Generations[int, int] = Generations(10)
    cache[0] = 100
    for key in range(1, 100):
        cache[key] = key
        assert cache.get(0) == 100
    assert cache.get(1) is None
    assert 0 in cache
    assert 1 not in cache


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30))), st.integers(1, 8))
def test_it_never_holds_more_than_twice_the_capacity_and_never_lies(steps: list[tuple[bool, int]], size: int) -> None:
    cache: Generations[int, str] = Generations(size)
    for write, key in steps:
        if write:
            cache[key] = str(key)
        assert cache.get(key) in (None, str(key))
        assert not write or cache.get(key) == str(key)
        assert len(cache) <= 2 * size


def test_a_sequel_forgets_in_the_order_of_first_sight_whatever_is_looked_up() -> None:
    sequel: Sequel[int, int] = Sequel(10)
    for number in range(100):
        sequel[number] = number
        assert sequel.get(max(0, number - 9)) == max(0, number - 9)
        kept = [one for one in range(number + 1) if sequel.get(one) is not None]
        assert kept == list(range(kept[0], number + 1))
        assert len(kept) <= 20
