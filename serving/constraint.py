"""Our grammars for engines that choose tokens in Python: llguidance says which tokens may come next.

A grammar is written once, in llama.cpp's notation, and read here by llguidance's own translator; so the reference
engine is held to the very same answers as the default one.
"""

from collections.abc import Sequence
from typing import Any

from ..traffic.errors import MissingExtra
from .engine import EngineError
from .gbnf import plain


class Constraint:
    """One tokenizer's view of grammars. Making it takes about a second, so an engine makes one and keeps it."""

    def __init__(self, tokenizer: str, vocabulary: int, ends: Sequence[int] = ()) -> None:
        """`tokenizer`: the text of Hugging Face's `tokenizer.json`; `vocabulary`: how many logits the model has;
        `ends`: tokens that end an answer."""
        try:
            import llguidance
        except ImportError as error:
            raise MissingExtra("distill", "llguidance") from error
        self._library, self._size = llguidance, vocabulary
        self._tokens = llguidance.LLTokenizer(tokenizer, n_vocab=vocabulary, eos_token=list(ends) or None)

    def bytes_of(self, token: int) -> bytes:
        """What a token stands for in the text."""
        return bytes(self._tokens.decode_bytes([token]))

    def begin(self, grammar: str) -> "Progress":
        """The state before the first token. Raises EngineError for a grammar that cannot be read."""
        from llguidance.gbnf_to_lark import any_to_lark

        try:
            text = any_to_lark(plain(grammar))
        except Exception as error:
            # Its parser raises whatever comes to its hand.
            raise EngineError(f"The grammar cannot be read: {error}") from error
        matcher = self._library.LLMatcher(self._tokens, self._library.grammar_from("grammar", text), log_level=0)
        if matcher.is_error():
            raise EngineError(f"The grammar cannot be read: {matcher.get_error()}")
        return Progress(matcher, self._size)


class Progress:
    """How far one answer has come in its grammar."""

    def __init__(self, matcher: Any, vocabulary: int) -> None:
        # Not its kernels for torch: they compile themselves on first use, which takes half a minute.
        from llguidance.numpy import allocate_token_bitmask

        self._matcher, self._mask = matcher, allocate_token_bitmask(1, vocabulary)

    def allows(self, token: int) -> bool:
        """Whether a token may come next. A thousandth of the work of saying which ones may."""
        return self._matcher.validate_tokens([token]) == 1

    def restrict(self, logits: Any) -> None:
        """Set the logits (1 × vocabulary, on the CPU) of all tokens that may not come next to minus infinity."""
        from llguidance.numpy import apply_token_bitmask_inplace, fill_next_token_bitmask

        fill_next_token_bitmask(self._matcher, self._mask)
        if self._matcher.is_error():
            raise EngineError(f"The grammar cannot be followed: {self._matcher.get_error()}")
        apply_token_bitmask_inplace(logits.numpy(), self._mask)

    def forced(self) -> list[int]:
        """The tokens that must come next, up to the first choice; they count as taken. They cut the text as the
        tokenizer does, as training did."""
        tokens = self._matcher.compute_ff_tokens()
        self._matcher.consume_tokens(tokens)
        return tokens

    def take(self, token: int) -> None:
        """The token that was chosen."""
        self._matcher.consume_token(token)
