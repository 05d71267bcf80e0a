"""Whether a teacher's answers may be learnt from, by the model that gave them.

A call in the log says which model answered, in the words of the answer: an agent that asks for `gpt-5` may be told
`gpt-5-2026-05-01`. A name therefore also stands for the dated names that begin with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

Distillable = Literal["yes", "no", "unknown"]


@dataclass(frozen=True)
class TeacherTerms:
    """What is known about one teacher's terms."""

    name: str
    models: tuple[str, ...]
    """Models that it answers for: names, or patterns with `*` and `?`."""
    distillable: Distillable = "unknown"
    """Whether its terms allow training on its outputs."""

    def answers_for(self, model: str) -> bool:
        """Whether it gave an answer that names this model."""
        return any(
            fnmatchcase(model, pattern) or (not set(pattern) & set("*?[") and model.startswith(f"{pattern}-"))
            for pattern in self.models
        )


def terms_for(model: str, teachers: Sequence[TeacherTerms], default: Distillable) -> TeacherTerms:
    """The terms under which a model's answers stand: of the teachers that fit, the strictest; else the default ones."""
    strictness = ("no", "unknown", "yes")
    fitting = [one for one in teachers if one.answers_for(model)]
    return min(
        fitting,
        key=lambda one: strictness.index(one.distillable),
        default=TeacherTerms("default", (), default),
    )
