"""Settings of a distillation run."""

from dataclasses import dataclass

ALL_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class DistillOptions:
    """One run: which agent, which base, how much, how."""

    data: str
    """The data folder."""
    agent: str = ""
    """Agent id, or a pattern id or name of it; empty: the agent with the most successful sessions."""
    name: str = ""
    """Name of the student; empty: made from the agent's name."""
    base: str = "smollm2-135m"
    """Base model; see `serving.bases`."""
    prompt: str = "internalised"
    """`internalised` or `full`."""
    max_sessions: int = 2000
    """Training sessions at most; the newest are taken."""
    min_sessions: int = 30
    """Fewer successful sessions than this are refused."""
    held_out: float = 0.15
    """Share of sessions kept for evaluation."""
    max_held_out: int = 100
    """Held-out sessions at most."""
    epochs: float = 2.0
    """Passes over the training sessions."""
    learning_rate: float = 2e-3
    """Highest learning rate, at the end of the warm-up."""
    warmup: float = 0.05
    """Share of the steps over which the learning rate rises; it falls along a cosine afterwards."""
    batch: int = 4
    """Rows per step."""
    rank: int = 16
    """Rank of the adapter matrices (LoRA r)."""
    alpha: int = 32
    """Scale of the adapter: alpha / rank is applied to its output."""
    dropout: float = 0.0
    """Dropout before the adapter, in [0, 1)."""
    targets: tuple[str, ...] = ("q_proj", "v_proj")
    """Adapted modules; `("all-linear",)` stands for all seven of a block."""
    layers_from: int = 0
    """First adapted layer: lower ones stay untouched, and the backward pass ends there."""
    memory_mb: int = 512
    """Memory for the untouched layers' output, which is the same in every epoch; 0: computed anew each time."""
    max_length: int = 2048
    """Tokens per row; longer trajectories are segmented at turn boundaries."""
    seed: int = 7
    """Seed of the order of rows and of the adapter's first weights."""
    threads: int = 0
    """Torch threads; 0: one per core."""
    allow: tuple[str, ...] = ()
    """Regular expressions of values that are no personal data, beside the built-in ones for order numbers."""
    base_sessions: int = 0
    """Held-out sessions on which the untrained base is examined too, for comparison."""
    teacher_distillable: str = "unknown"
    """Whether the teacher's terms allow training on its outputs: `yes`, `no` (blocks), `unknown` (warns)."""
    admin_url: str = ""
    """Admin API of a running control plane; empty: found through the data folder, or the store is opened directly."""

    @property
    def modules(self) -> tuple[str, ...]:
        """The adapted modules by name."""
        return ALL_LINEAR if self.targets == ("all-linear",) else self.targets
