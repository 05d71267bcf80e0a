"""Places: what a prompt finds in the cache, and what it pushes out."""

from tutelage.serving.places import Places


class Cache:
    """Places that write down what they copy."""

    def __init__(self, count: int) -> None:
        self.copied: list[tuple[int, int, int]] = []
        self.places = Places(count, lambda *copied: self.copied.append(copied))

    def call(self, prompt: list[int], owner: object = None, written: tuple[int, ...] = ()) -> tuple[int, int]:
        """One call from its beginning to its end: its place, and how much of its prompt was known."""
        taken = self.places.take(prompt, owner)
        assert taken is not None
        place, known = taken
        assert place.tokens == prompt[:known]
        place.tokens = [*prompt, *written]
        self.places.give_back(place)
        return place.index, known


def test_the_next_turn_of_a_conversation_goes_on_where_it_was_left() -> None:
    cache = Cache(2)
    place, known = cache.call([1, 2, 3], written=(4, 5))
    assert known == 0
    assert cache.call([1, 2, 3, 4, 5, 6, 7]) == (place, 5)
    assert cache.copied == []


def test_the_last_token_is_always_read() -> None:
    cache = Cache(1)
    cache.call([1, 2, 3])
    assert cache.call([1, 2, 3]) == (0, 2)


def test_what_one_adapter_read_is_nothing_to_another() -> None:
    cache, one, two = Cache(1), object(), object()
    cache.call([1, 2, 3, 4], one)
    assert cache.call([1, 2, 3, 4], two) == (0, 0)
    assert cache.call([1, 2, 3, 4], two) == (0, 3)


def test_a_common_opening_is_copied_and_the_longer_conversation_stays() -> None:
    cache = Cache(2)
    first, _ = cache.call([1, 2, 3, 40, 41, 42, 43, 44])
    second, known = cache.call([1, 2, 3, 50])
    assert (second != first, known) == (True, 3)
    assert cache.copied == [(first, second, 3)]
    assert cache.call([1, 2, 3, 40, 41, 42, 43, 44, 45]) == (first, 8)


def test_a_busy_place_can_be_copied_from_but_not_taken() -> None:
    cache = Cache(2)
    taken = cache.places.take([1, 2, 3, 4], None)
    assert taken is not None
    taken[0].tokens = [1, 2, 3]
    other = cache.places.take([1, 2, 3, 4], None)
    assert other is not None
    assert other[0] is not taken[0]
    assert other[1] == 3
    assert cache.places.take([9], None) is None
    cache.places.give_back(taken[0])
    again = cache.places.take([9], None)
    assert again is not None
    assert again[0] is taken[0]


def test_the_place_that_was_left_longest_ago_makes_room() -> None:
    cache = Cache(3)
    for prompt in ([10, 11], [20, 21], [30, 31], [10, 11, 12]):
        cache.call(prompt)
    assert cache.call([40, 41]) == (1, 0)
