"""Linear layers in eight bits on x86 processors, by the two products of bytes that torch brings along.

A weight matrix has one scale for each row, as usual. Inputs are scaled row by row too, so that each row uses its
eight bits whole, and what a row gives never depends on the rows that are computed beside it: sums of products of
bytes are exact. See LLM.int8() (Dettmers et al., 2022) for this vector-wise scaling. Some inputs are many times as
large as the others, always the same ones; the root of that factor is moved to their weights (SmoothQuant, Xiao et al.,
2023, α = ½), or few of the steps would be left for the others.

fbgemm is the faster one for the few rows of answers that are being written, and as fast for prompts. torch means to
drop its kind of tensors some day (pytorch/pytorch#184982); oneDNN, which takes plain bytes, is there for then.
"""

import warnings
from typing import Any, Protocol

_TINY = 1e-12
_LEAST = 0.05
"""Smallest peak of an input that is believed, of the mean: a short text does not show what all of them can be."""
_ROWS = 8
"""How many rows the layout of weights is made for: answers that are written together."""


class Linear(Protocol):
    """A matrix that rows are multiplied with."""

    def __call__(self, rows: Any) -> Any:
        """Rows × outputs (float32) for rows × inputs (float32)."""
        ...


class Plain:
    """A linear layer in the precision of its weight."""

    def __init__(self, torch: Any, weight: Any, bias: Any = None, peaks: Any = None) -> None:
        self._linear, self._weight, self._bias = torch.nn.functional.linear, weight, bias

    def __call__(self, rows: Any) -> Any:
        return self._linear(rows, self._weight, self._bias)


def steps_of(torch: Any) -> float:
    """Steps of an input on either side of zero. Without the instruction for it, pairs of products are added in 16 bits,
    which seven bits of input never fill."""
    return 127.0 if torch.cpu._is_vnni_supported() else 63.0


class Listening:
    """A linear layer that remembers how large each of its inputs was at most: `peaks`."""

    peaks: Any = None

    def __init__(self, linear: Linear) -> None:
        self._linear = linear

    def __call__(self, rows: Any) -> Any:
        self.peaks = rows.abs().amax(0)
        return self._linear(rows)


def balanced(weight: Any, peaks: Any) -> tuple[Any, Any]:
    """The weight with its columns scaled so that inputs and weights of a column have the same peak, and what the inputs
    are multiplied with in return."""
    least = max(float(peaks.mean()) * _LEAST, _TINY)
    scales = (peaks.clamp_min(least) / weight.abs().amax(0).clamp_min(_TINY)).sqrt()
    return weight * scales, 1 / scales


class Fbgemm:
    """A linear layer in eight bits by fbgemm."""

    def __init__(self, torch: Any, weight: Any, bias: Any = None, peaks: Any = None) -> None:
        """`weight`: outputs × inputs, `bias`: outputs, `peaks`: inputs; all float32."""
        self._step, self._bias = 1 / steps_of(torch), bias
        weight, self._factors = (weight, None) if peaks is None else balanced(weight, peaks)
        scales = weight.abs().amax(1).clamp_min(_TINY).double() / 127
        zeros = torch.zeros(len(weight), dtype=torch.int64)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*deprecated", UserWarning)
            quantised = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
        torch.backends.quantized.engine = "fbgemm"
        self._packed = torch.ops.quantized.linear_prepack(quantised, None)
        self._multiply = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32.default

    def __call__(self, rows: Any) -> Any:
        if self._factors is not None:
            rows = rows * self._factors
        scales = rows.abs().amax(-1, keepdim=True).clamp_min_(_TINY)
        made = self._multiply(rows / scales, self._step, 128, self._packed).mul_(scales)
        return made if self._bias is None else made.add_(self._bias)


class OneDnn:
    """A linear layer in eight bits by oneDNN."""

    def __init__(self, torch: Any, weight: Any, bias: Any = None, peaks: Any = None) -> None:
        """As for Fbgemm."""
        self._torch, self._bias, self._steps = torch, bias, steps_of(torch)
        weight, self._factors = (weight, None) if peaks is None else balanced(weight, peaks)
        self._scales = weight.abs().amax(1).clamp_min(_TINY) / 127
        self._zeros = torch.zeros(len(weight), dtype=torch.int64)
        quantised = (weight / self._scales[:, None]).round().to(torch.int8)
        self._packed = torch.ops.onednn.qlinear_prepack(quantised, [_ROWS, weight.shape[1]])
        self._multiply = torch.ops.onednn.qlinear_pointwise.default

    def __call__(self, rows: Any) -> Any:
        torch = self._torch
        if self._factors is not None:
            rows = rows * self._factors
        scales = rows.abs().amax(-1, keepdim=True).clamp_min_(_TINY)
        # The bytes have no sign, and what lies behind the point is cut off, not rounded.
        quantised = (rows * (self._steps / scales)).add_(128.5).to(torch.uint8)
        made = self._multiply(
            quantised, 1 / self._steps, 128, self._packed, self._scales, self._zeros, None, 1.0, 0, torch.float32,
            "none", [], "",
        )  # fmt: skip
        made *= scales
        return made if self._bias is None else made.add_(self._bias)


def available(torch: Any) -> list[Any]:
    """The classes of layers in eight bits that this build of torch has here, the faster first."""
    found: list[Any] = []
    if not torch.cpu._is_avx2_supported():
        return found
    if "fbgemm" in torch.backends.quantized.supported_engines and hasattr(torch, "quantize_per_channel"):
        found.append(Fbgemm)
    if torch.backends.mkldnn.is_available() and hasattr(torch.ops.onednn, "qlinear_pointwise"):
        found.append(OneDnn)
    return found


def layers(torch: Any, exact: bool = False) -> Any:
    """The class of linear layers to use here; `exact`: in full precision."""
    return Plain if exact else next(iter(available(torch)), Plain)
