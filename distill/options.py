"""Settings of a distillation run."""

from dataclasses import dataclass, field

from ..traffic.scrub_rules import ScrubRules
from ..traffic.teacher_terms import TeacherTerms

METHODS = ("lora", "dora", "rslora", "qlora", "full")
INITS = ("zero", "gaussian", "orthogonal")
DEVICES = ("auto", "cpu", "cuda")
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
    """Rows per step, over all processes."""
    method: str = "lora"
    """`lora`; `rslora`: scaled by alpha / sqrt(rank), for high ranks; `dora`: length and direction of the weights
    apart; `qlora`: on a base of four bits, CUDA only; `full`: all weights from `layers_from` on, for small bases."""
    init: str = "zero"
    """First weights of the adapter: `zero` (one factor zero, the other uniform), `gaussian` (the other normal) or
    `orthogonal`. None of them changes the base, which is served as it is."""
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
    pack: int = 1
    """Rows at most in a pack: rows that begin alike, whose common beginning is computed once. A step then reads `batch`
    packs. 1: every row by itself. Pays where prompts are long and begin alike."""
    rare: float = 0.0
    """Rows of rare actions are shown (n of the commonest action / n of theirs) ** `rare` times, 8 times at most; 0: all
    rows once."""
    patience: int = 0
    """Training stops after so many epochs in a row that did not lower the loss on sessions kept apart, and the weights
    of the best epoch are taken; 0: nothing is kept apart."""
    watched: float = 0.05
    """Share of the training sessions that is kept apart for `patience`."""
    rehearsal: float = 0.0
    """Rows of general talk for each row of the agent's: what the base itself answers to frozen prompts, against
    forgetting. As the student is asked for this agent's work only, none unless the base is to stay a talker."""
    augment: float = 0.25
    """With `prompt = "full"`: rows with renamed tools and arguments for each row of the agent's, a tenth of them
    without the tool that is needed."""
    checkpoint_s: float = 300.0
    """Seconds between checkpoints, from which a run that was killed goes on when it is started again; 0: none."""
    seed: int = 7
    """Seed of the order of rows and of the adapter's first weights."""
    threads: int = 0
    """Torch threads of each process; 0: one per core, shared among the processes."""
    processes: int = 1
    """Training processes (`accelerate launch`), of which each takes its share of every step's rows."""
    device: str = "auto"
    """`cpu`, `cuda`, or `auto`: CUDA where there is one."""
    engine: str = "auto"
    """Engine of the examinations: `llama`, `torch`, or `auto`, as `[serving] engine` says. It is told there."""
    scrub: ScrubRules = field(default_factory=ScrubRules)
    """What is personal data and what becomes of it; the section `[scrub]`."""
    base_sessions: int = 0
    """Held-out sessions on which the untrained base is examined too, for comparison."""
    epoch_sessions: int = 12
    """Held-out sessions that are examined after each epoch but the last; 0: none."""
    anchors: int = 16
    """Frozen prompts of general talk on which forgetting is measured; 0: not measured."""
    canaries: int = 2
    """Made-up secrets that are planted in the training sessions and must not come out again, 8 at most; 0: none."""
    budget: int = 0
    """Training sessions that may be used at most, with a learning curve: the student is trained on an eighth, a
    quarter, half and all of them, and the first that reaches `bar` is registered. 0: trained once, on all."""
    bar: float = 0.95
    """Agreement on the held-out sessions that is enough, with `budget`."""
    asked_for: str = ""
    """Why a student is wanted that is not better than the version before but as good, in words, which are kept with it;
    empty: it has to be better, or to need shorter prompts. `distill watch` says when a version has lost a pattern
    (`drift: …`) or when a pattern has come that it does not know (`new pattern: …`)."""
    teacher_distillable: str = "unknown"
    """Whether the teacher's terms allow training on its outputs: `yes`, `no` (blocks), `unknown` (warns). For other
    teachers than the default one: `distillable` in their sections."""
    teachers: tuple[TeacherTerms, ...] = ()
    """What the terms of the other teachers say."""
    admin_url: str = ""
    """Admin API of a running control plane; empty: found through the data folder, or the store is opened directly."""

    @property
    def modules(self) -> tuple[str, ...]:
        """The adapted modules by name."""
        return ALL_LINEAR if self.targets == ("all-linear",) else self.targets


@dataclass(frozen=True)
class ScheduleOptions:
    """When `tutelage distill watch`, and `serve` with `autopilot = true`, train by themselves."""

    every_s: float = 300.0
    """Seconds from one look to the next."""
    new_sessions: int = 200
    """New successful sessions of an agent after which a student is trained anew."""
    pause_h: float = 6.0
    """Hours from the end of one run of an agent to the begin of its next, at least."""
    windows: tuple[str, ...] = ()
    """Times of day, `HH:MM-HH:MM` on this machine's clock, outside of which nothing is trained; a run that reaches the
    end of a window is stopped and goes on in the next. None: at any time."""
    budget_h: float = 8.0
    """Hours of training in any 24, over all agents."""
    nice: int = 19
    """Politeness of a run towards other processes, 0 (none) to 19."""
    threads: int = 1
    """Threads of a run."""
