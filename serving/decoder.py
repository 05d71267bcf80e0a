"""The forward pass of Llama's family (see `shape`) for many sequences at once, in plain torch.

A step takes the next tokens of any number of sequences as one matrix of rows: one row for a sequence that is being
written, many for one whose prompt is being read. Linear layers see rows only; attention sees one sequence after the
other, against its place in the cache. Rows of one adapter lie together, and each adapter is added to its own rows; so
versions of a student are written together.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..traffic.errors import BadInput
from .attention import Attention, Segment, empty_cache
from .eight_bits import Linear, Listening, Plain
from .lora import LoraMatrix
from .shape import Shape

_FUSED = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "out": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}
"""Modules that read the same rows are one matrix."""


class Span(NamedTuple):
    """Rows that one adapter is added to."""

    start: int
    end: int
    adapter: "Adapter"


class Adapter:
    """A LoRA on the fused matrices: per layer and matrix what rows are multiplied with, and what they come to."""

    def __init__(self, torch: Any, matrices: Mapping[tuple[int, str], LoraMatrix], widths: Mapping[str, int]) -> None:
        """`widths`: outputs of each module. Raises BadInput for a matrix that does not fit."""
        self.pairs: dict[tuple[int, str], tuple[Any, Any]] = {}
        for layer in sorted({layer for layer, _ in matrices}):
            for name, modules in _FUSED.items():
                parts = [(module, matrices.get((layer, module))) for module in modules]
                if any(one for _, one in parts):
                    self.pairs[layer, name] = self._fused(torch, parts, widths)

    @staticmethod
    def _fused(
        torch: Any, parts: Sequence[tuple[str, LoraMatrix | None]], widths: Mapping[str, int]
    ) -> tuple[Any, Any]:
        """A (inputs × ranks) and B (ranks × outputs) of the matrices side by side; B holds the scaling."""
        down = [torch.from_numpy(one.a) for _, one in parts if one]
        up = torch.zeros(sum(map(len, down)), sum(widths[module] for module, _ in parts))
        row = column = 0
        for module, one in parts:
            if one:
                rank = len(one.a)
                up[row : row + rank, column : column + widths[module]] = torch.from_numpy(one.b.T * one.scaling)
                row += rank
            column += widths[module]
        return torch.cat(down).T.contiguous(), up


class _Layer(NamedTuple):
    first_norm: Any
    second_norm: Any
    head_norms: tuple[Any, Any] | None
    matrices: Mapping[str, Linear]


class Decoder:
    """Weights and cache of one model."""

    def __init__(
        self,
        torch: Any,
        folder: Path,
        linear: Callable[..., Linear],
        *,
        slots: int,
        context: int,
        sample: Sequence[int] = (),
    ) -> None:
        """`linear(torch, weight, bias, peaks)` makes the linear layers; `sample` is a text on which they are shown how
        large their inputs are. Without one all is kept in full precision. Raises BadInput for missing weights."""
        self._torch, self.shape, self.context = torch, Shape.of(folder), context
        shape = self.shape
        self._epsilon = torch.tensor(shape.epsilon)
        self._cache = empty_cache(torch, (shape.layers, slots * context, 2 * shape.kv_heads, shape.head))
        angles = torch.outer(torch.arange(context).float(), self._frequencies())
        self._cos, self._sin = (torch.cat([some, some], -1)[:, None] for some in (angles.cos(), angles.sin()))
        weights = _Weights(folder)
        modules = [module for some in _FUSED.values() for module in some]
        self._sizes = {module: weights.size(f"model.layers.0.{module}.weight") for module in modules}
        embedding = weights.get("model.embed_tokens.weight")
        self.vocabulary = len(embedding)
        with torch.inference_mode():
            self._layers, self._norm, self._head = self._load(weights, linear, embedding, sample[:context])
        self._embedding = embedding.half() if sample else embedding

    def _load(
        self, weights: "_Weights", linear: Callable[..., Linear], embedding: Any, sample: Sequence[int]
    ) -> tuple[list[_Layer], Any, Linear]:
        """Layers, last norm and head, one after the other: the sample goes through each in full precision."""
        torch, layers = self._torch, list[_Layer]()
        step = _Step(torch, self, [Segment(0, len(sample), 0, 0)] if sample else [])
        rows = embedding[torch.tensor(sample, dtype=torch.int64)]
        for number in range(self.shape.layers):
            layer, matrices = self._read(weights, number)
            heard = {name: Listening(Plain(torch, *pair)) for name, pair in matrices.items()}
            if sample:
                rows = self._through(number, layer._replace(matrices=heard), rows, step, ())
            made = {name: linear(torch, *pair, heard[name].peaks) for name, pair in matrices.items()}
            layers.append(layer._replace(matrices=made))
        norm, head = weights.get("model.norm.weight"), weights.maybe("lm_head.weight")
        peaks = self._normed(rows, norm).abs().amax(0) if sample else None
        return layers, norm, linear(torch, embedding if head is None else head, None, peaks)

    def adapter(self, matrices: Mapping[tuple[int, str], LoraMatrix]) -> Adapter:
        """A LoRA on this model. Raises BadInput for one that does not fit."""
        for (layer, module), one in matrices.items():
            size = (len(one.b), one.a.shape[1])
            if layer >= self.shape.layers or size != self._sizes[module]:
                raise BadInput(
                    f"The adapter does not fit the base, where {module} of {self.shape.layers} layers is "
                    f"{self._sizes[module]}: it is made for {size} in layer {layer}."
                )
        return Adapter(self._torch, matrices, {module: outputs for module, (outputs, _) in self._sizes.items()})

    def copy(self, source: int, target: int, count: int) -> None:
        """The first `count` positions of one place in the cache to another one."""
        begin, end = source * self.context, target * self.context
        self._cache[:, end : end + count] = self._cache[:, begin : begin + count]

    def step(self, ids: Sequence[int], segments: Sequence[Segment], spans: Sequence[Span], told: Sequence[int]) -> Any:
        """Logits (float32) behind the rows in `told`; all rows are in the cache afterwards."""
        torch, step = self._torch, _Step(self._torch, self, segments)
        rows = self._embedding[torch.tensor(ids)].float()
        for number, layer in enumerate(self._layers):
            rows = self._through(number, layer, rows, step, spans)
        return self._head(self._normed(rows[torch.tensor(told, dtype=torch.int64)], self._norm))

    def turns(self, places: Any) -> tuple[Any, Any]:
        """Cosine and sine of the angles at these positions."""
        return self._cos[places], self._sin[places]

    def _through(self, number: int, layer: _Layer, rows: Any, step: "_Step", spans: Sequence[Span]) -> Any:
        """The rows behind a layer."""
        normed = self._normed(rows, layer.first_norm)
        qkv = self._linear(layer, (number, "qkv"), normed, spans).view(len(rows), -1, self.shape.head)
        queries = self._remember(number, layer, qkv, step)
        rows = rows + self._linear(layer, (number, "out"), step.attention(queries, self._cache[number]), spans)
        both = self._linear(layer, (number, "gate_up"), self._normed(rows, layer.second_norm), spans)
        gate, up = both.chunk(2, -1)
        return rows + self._linear(layer, (number, "down"), self._torch.nn.functional.silu(gate).mul_(up), spans)

    def _linear(self, layer: _Layer, name: tuple[int, str], rows: Any, spans: Sequence[Span]) -> Any:
        made = layer.matrices[name[1]](rows)
        for start, end, adapter in spans:
            if pair := adapter.pairs.get(name):
                made[start:end].addmm_(rows[start:end] @ pair[0], pair[1])
        return made

    def _remember(self, number: int, layer: _Layer, qkv: Any, step: "_Step") -> Any:
        """Turn queries and keys to their positions, put keys and values into the cache; the queries."""
        torch, heads = self._torch, self.shape.heads
        turn, values = qkv[:, : heads + self.shape.kv_heads], qkv[:, heads + self.shape.kv_heads :]
        if layer.head_norms:
            of_queries, of_keys = layer.head_norms
            turn = torch.cat([self._normed(turn[:, :heads], of_queries), self._normed(turn[:, heads:], of_keys)], 1)
        low, high = turn.chunk(2, -1)
        turned = torch.cat([-high, low], -1).mul_(step.sin).add_(turn * step.cos)
        self._cache[number].index_copy_(0, step.where, torch.cat([turned[:, heads:], values], 1))
        return turned[:, :heads]

    def _normed(self, rows: Any, weight: Any) -> Any:
        """Root mean square norm, in fewer kernels than torch's own takes on a processor."""
        total = (rows * rows).sum(-1, keepdim=True)
        return (rows * self._torch.add(self._epsilon, total, alpha=1 / len(weight)).rsqrt_()).mul_(weight)

    def _frequencies(self) -> Any:
        torch, shape = self._torch, self.shape
        return 1.0 / shape.theta ** (torch.arange(0, shape.head, 2).float() / shape.head)

    def _read(self, weights: "_Weights", number: int) -> tuple[_Layer, dict[str, tuple[Any, Any]]]:
        """A layer without its matrices, and these as weight and bias."""
        torch, at = self._torch, f"model.layers.{number}"
        matrices = {}
        for name, modules in _FUSED.items():
            biases = [weights.maybe(f"{at}.{module}.bias") for module in modules]
            bias = None
            if any(one is not None for one in biases):
                sizes = [self._sizes[module][0] for module in modules]
                bias = torch.cat([torch.zeros(n) if one is None else one for n, one in zip(sizes, biases, strict=True)])
            matrices[name] = torch.cat([weights.get(f"{at}.{module}.weight") for module in modules]), bias
        norms = [weights.maybe(f"{at}.self_attn.{one}_norm.weight") for one in "qk"]
        layer = _Layer(
            weights.get(f"{at}.input_layernorm.weight"),
            weights.get(f"{at}.post_attention_layernorm.weight"),
            None if norms[0] is None else (norms[0], norms[1]),
            {},
        )
        return layer, matrices


class _Step:
    """What all layers of one step share: where its rows go in the cache, their angles, what they attend to."""

    def __init__(self, torch: Any, decoder: Decoder, segments: Sequence[Segment]) -> None:
        places = [one.past + number for one in segments for number in range(one.end - one.start)]
        slots = [one.slot for one in segments for _ in range(one.end - one.start)]
        positions = [slot * decoder.context + place for slot, place in zip(slots, places, strict=True)]
        self.where = torch.tensor(positions, dtype=torch.int64)
        self.cos, self.sin = decoder.turns(torch.tensor(places, dtype=torch.int64))
        self.attention = Attention(torch, decoder.shape, segments, decoder.context)


class _Weights:
    """The safetensors of a folder, read one by one. Each is opened by itself: what is mapped counts as memory."""

    def __init__(self, folder: Path) -> None:
        from safetensors import safe_open

        self._folder, self._open = folder, safe_open
        self._files: dict[str, Path] = {}
        for path in sorted(folder.glob("*.safetensors")):
            with safe_open(path, "pt") as file:
                self._files |= dict.fromkeys(file.keys(), path)

    def get(self, name: str) -> Any:
        """One tensor in float32, a copy of its own. Raises BadInput."""
        with self._open(self._file(name), "pt") as file:
            return file.get_tensor(name).float().clone()

    def size(self, name: str) -> tuple[int, ...]:
        """Its size, without reading it. Raises BadInput."""
        with self._open(self._file(name), "pt") as file:
            return tuple(file.get_slice(name).get_shape())

    def _file(self, name: str) -> Path:
        if name not in self._files:
            raise BadInput(f"The model in {self._folder} has no tensor {name}.")
        return self._files[name]

    def maybe(self, name: str) -> Any:
        return self.get(name) if name in self._files else None
