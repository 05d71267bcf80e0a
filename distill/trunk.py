"""The lower layers of a model whose adapters sit above them: run once per row, remembered for the later epochs.

Layers below the first adapted one give the same output in every epoch, for nothing below them is trained and nothing
is random. So their output is kept in memory by row, and epochs after the first start in the middle of the model. The
trained weights are the same as without the memory, up to floating-point noise from the padding of a batch.

Only decoder models with a `layers` list of blocks that map hidden states to hidden states; rows padded on the right.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn


@contextmanager
def remembered(decoder: "nn.Module", depth: int, limit_bytes: int) -> Iterator["Memory"]:
    """Replace the first `depth` layers of `decoder` by a memory of their output while the context lasts.

    `decoder` is the model without its head. `limit_bytes`: rows beyond it are computed anew each time. With `depth` 0
    or no memory allowed nothing is replaced. The layers are put back at the end.
    """
    from torch import nn

    layers: Any = decoder.layers
    memory = Memory(list(layers[:depth]), limit_bytes)
    if depth == 0 or limit_bytes <= 0:
        yield memory
        return
    hook = decoder.register_forward_pre_hook(memory.note_rows, with_kwargs=True)
    # The list keeps its length: the names of the adapted layers above count from the bottom.
    decoder.layers = nn.ModuleList([memory.module(), *[_skip() for _ in range(depth - 1)], *layers[depth:]])
    try:
        yield memory
    finally:
        hook.remove()
        decoder.layers = layers


class Memory:
    """Outputs of the lower layers, by the token ids of a row."""

    def __init__(self, layers: list["nn.Module"], limit_bytes: int) -> None:
        self._layers = layers
        self._limit = limit_bytes
        self._known: dict[bytes, Tensor] = {}
        self._rows: list[bytes] = []
        self.bytes = 0
        self.hits = 0
        self.misses = 0

    def note_rows(self, _module: "nn.Module", args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Before the decoder runs: which rows it is given."""
        ids: Tensor = kwargs["input_ids"] if "input_ids" in kwargs else args[0]
        mask: Tensor | None = kwargs.get("attention_mask")
        if mask is not None and mask.dim() == 4:
            # Of a pack: every real token sees the first one, padding sees itself alone.
            mask = mask[:, 0, :, 0]
        lengths = [ids.shape[1]] * ids.shape[0] if mask is None else mask.sum(dim=1).tolist()
        self._rows = [row[: int(n)].numpy().tobytes() for row, n in zip(ids, lengths, strict=True)]

    def module(self) -> "nn.Module":
        """A block that stands in for all the lower layers."""
        from torch import nn

        memory = self

        class Trunk(nn.Module):
            def forward(self, hidden_states: "Tensor", **kwargs: Any) -> "Tensor":
                return memory.output(hidden_states, kwargs)

        return Trunk()

    def output(self, hidden: "Tensor", kwargs: dict[str, Any]) -> "Tensor":
        """What the lower layers make of the noted rows. Shape (rows, length, width), as `hidden`."""
        import torch

        if all(row in self._known for row in self._rows):
            self.hits += len(self._rows)
            # Zeros where a batch is padded: causal attention never looks there from a real token.
            out = torch.zeros_like(hidden)
            for place, row in enumerate(self._rows):
                kept = self._known[row]
                out[place, : kept.shape[0]] = kept
            return out
        self.misses += len(self._rows)
        with torch.no_grad():
            for layer in self._layers:
                hidden = layer(hidden, **kwargs)
        self._keep(hidden)
        return hidden

    def _keep(self, hidden: "Tensor") -> None:
        for place, row in enumerate(self._rows):
            kept = hidden[place, : len(row) // 8].clone()
            size = kept.numel() * kept.element_size()
            if row not in self._known and self.bytes + size <= self._limit:
                self._known[row] = kept
                self.bytes += size


def _skip() -> "nn.Module":
    from torch import nn

    class Skip(nn.Module):
        def forward(self, hidden_states: "Tensor", **_: Any) -> "Tensor":
            return hidden_states

    return Skip()
