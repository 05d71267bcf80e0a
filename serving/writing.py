"""How engines that choose tokens in Python write one answer: draws, scores, and when it ends."""

from collections.abc import Callable
from typing import Any

from .constraint import Constraint, Progress
from .engine import Generation, Sampling, TokenScore


class Draw:
    """Chooses tokens."""

    def __init__(self, torch: Any, sampling: Sampling) -> None:
        self._torch, self._sampling = torch, sampling
        self._random = torch.Generator()
        if sampling.seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(sampling.seed)

    def token(self, logits: Any, progress: Progress | None = None) -> int:
        """One token for logits of shape 1 × vocabulary, as the grammar allows. What it forbids is minus infinity then,
        unless nobody needed to ask."""
        if not self._sampling.temperature:
            best = int(logits.argmax())
            if progress is None or progress.allows(best):
                return best
        if progress:
            progress.restrict(logits)
        if not self._sampling.temperature:
            return int(logits.argmax())
        chances, order = (logits[0] / self._sampling.temperature).softmax(-1).sort(descending=True)
        # What comes before a token decides, so that the token that crosses the limit still belongs.
        chances[chances.cumsum(0) - chances >= self._sampling.top_p] = 0.0
        return int(order[self._torch.multinomial(chances, 1, generator=self._random)])


class Writing:
    """One answer as it grows."""

    def __init__(
        self,
        constraint: Constraint,
        ends: frozenset[int],
        limit: int,
        stop: tuple[str, ...],
        should_stop: Callable[[], bool] | None,
    ) -> None:
        self._constraint, self._ends, self._limit = constraint, ends, limit
        self._stop, self._should_stop = stop, should_stop
        self._scores: list[TokenScore] = []
        self._text, self._finish = b"", "length"

    def take(self, token: int, logprob: float) -> bool:
        """One token; False when it was the last."""
        ended = token in self._ends
        self._scores.append(TokenScore(b"" if ended else self._constraint.bytes_of(token), logprob))
        self._text += self._scores[-1].text
        found = [at for mark in self._stop if (at := self._text.find(mark.encode())) >= 0]
        if found:
            self._text = self._text[: min(found)]
        if ended or found:
            self._finish = "stop"
        elif self._should_stop and self._should_stop():
            self._finish = "cancelled"
            return False
        return not (ended or found) and len(self._scores) < self._limit

    def generation(self, prompt_tokens: int, cached_tokens: int = 0) -> Generation:
        """The answer so far."""
        logprobs = [score.logprob for score in self._scores] or [0.0]
        return Generation(
            text=self._text.decode("utf-8", "replace"),
            token_count=len(self._scores),
            prompt_tokens=prompt_tokens,
            mean_logprob=sum(logprobs) / len(logprobs),
            min_logprob=min(logprobs),
            finish=self._finish,
            cached_tokens=cached_tokens,
            scores=tuple(self._scores),
        )
