"""Writing one answer: what ends it; and drawing its tokens."""

from pathlib import Path
from typing import Any

import pytest

from tutelage.serving.constraint import Constraint
from tutelage.serving.engine import GREEDY, Sampling
from tutelage.serving.threads import quiet_threads
from tutelage.serving.tokenizer import save_tokenizer
from tutelage.serving.writing import Draw, Writing

quiet_threads()
torch: Any = pytest.importorskip("torch")
END, A, B = 2, 3 + ord("a"), 3 + ord("b")


@pytest.fixture(scope="module")
def constraint(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Constraint:
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(tiny_gguf, folder)
    return Constraint((folder / "tokenizer.json").read_text(), 261, [END])


def writing(constraint: Constraint, limit: int = 9, stop: tuple[str, ...] = (), told: bool = False) -> Writing:
    return Writing(constraint, frozenset({END}), limit, stop, lambda: told)


def test_an_end_mark_ends_it_and_is_no_text(constraint: Constraint) -> None:
    answer = writing(constraint)
    assert [answer.take(A, -0.5), answer.take(END, -1.5)] == [True, False]
    made = answer.generation(7, 3)
    assert (made.text, made.finish, made.token_count, made.prompt_tokens, made.cached_tokens) == ("a", "stop", 2, 7, 3)
    assert (made.mean_logprob, made.min_logprob) == (-1.0, -1.5)


def test_limit_stop_text_and_caller(constraint: Constraint) -> None:
    short = writing(constraint, limit=2)
    assert [short.take(A, 0.0), short.take(A, 0.0)] == [True, False]
    assert short.generation(1).finish == "length"
    stopped = writing(constraint, stop=("ab",))
    assert [stopped.take(token, 0.0) for token in (B, A, B)] == [True, True, False]
    assert (stopped.generation(1).text, stopped.generation(1).finish) == ("b", "stop")
    left = writing(constraint, told=True)
    assert not left.take(A, 0.0)
    assert left.generation(1).finish == "cancelled"


def test_what_the_grammar_forbids_is_not_drawn(constraint: Constraint) -> None:
    logits = torch.zeros(1, 261)
    logits[0, A], logits[0, B] = 9.0, 5.0
    assert Draw(torch, GREEDY).token(logits.clone()) == A
    assert Draw(torch, GREEDY).token(logits.clone(), constraint.begin('root ::= "a"')) == A
    assert Draw(torch, GREEDY).token(logits.clone(), constraint.begin('root ::= "b"')) == B
    hot = Draw(torch, Sampling(5.0, seed=1))
    assert {hot.token(logits.clone(), constraint.begin("root ::= [b-d]")) for _ in range(40)} <= {B, B + 1, B + 2}
