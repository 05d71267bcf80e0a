"""A student trained on a GPU machine and served there by vLLM: the export, the settings, and the commands in between.

    python -m tutelage.examples.train_on_gpu [FOLDER]

You see some customers served and exported, and then what to run on the GPU machine and here. The export and the
settings are real and stay in FOLDER; training and vLLM need the GPU.
"""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import msgspec
from openai import OpenAI

from ..distill.options import DistillOptions
from .openai_sdk import agent
from .place import Place, opened

CUSTOMERS = 5
ON_GPU = {"data": "gpu-data", "name": "desk", "device": "cuda", "teacher_distillable": "yes"}
"""`teacher_distillable` says that the teacher's terms allow it: a question for its owner, not for us."""
SERVED = """# With these settings the student server asks vLLM instead of computing itself.
[serving]
engine = "vllm"
engine_url = "http://gpu:8000/v1"
engine_students = "/data/students"
"""
SERVE = "vllm serve MODEL --served-model-name smollm2-135m --enable-lora --max-lora-rank 64"
COMMANDS = """On the GPU machine, which has `pip install 'tutelage[distill]' vllm` and a copy of {export}:
  TUTELAGE_OPTIONS={options} python -m tutelage.distill {export}
Then copy the version to both sides, its folder as a whole:
  rsync -a gpu-data/students/ /data/students/
  rsync -a gpu-data/students/ here:DATA/students/
On the GPU machine (MODEL is the folder below ~/.cache/tutelage/models that training has written):
  VLLM_ALLOW_RUNTIME_LORA_UPDATING=True {serve}
Here, where it is shadowed from then on, and served once it has proved itself:
  tutelage serve --config {settings}"""


def tutelage(*arguments: str) -> str:
    """What a command of Tutelage prints."""
    command = [sys.executable, "-m", "tutelage", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def main(place: Place, folder: Path) -> None:
    """Serve, export, write the settings, and say what comes next."""
    with OpenAI(base_url=place.url, api_key=place.key) as client:
        for number in range(CUSTOMERS):
            agent(client, place.model, f"Please move PA-1234{number} to Friday.", f"gpu-{number}")
    place.run(f"gpu-{CUSTOMERS - 1}")

    export, settings = folder / "export", folder / "tutelage.toml"
    tutelage("store", "export", "--parquet", str(export), "--data", str(place.world.root))
    print(f"Exported: {', '.join(sorted(path.stem for path in export.glob('*.parquet')))}")
    settings.write_text(SERVED)
    shown = tutelage("config", "show", "--changed", "--config", str(settings))
    print(f"Settings: {', '.join(name for name in ('engine', 'engine_url', 'engine_students') if name in shown)}")
    msgspec.convert(ON_GPU, DistillOptions)  # a misspelt one is found here, not on the GPU machine
    options = shlex.quote(json.dumps(ON_GPU))
    print(COMMANDS.format(export=export, options=options, serve=SERVE, settings=settings))


if __name__ == "__main__":
    target = Path(sys.argv[1] if sys.argv[1:] else "on-gpu")
    target.mkdir(parents=True, exist_ok=True)
    with opened() as found:
        main(found, target)
