"""The `tutelage` command. Messages and progress go to stderr, data to stdout; errors a user can cause are one line."""

import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from . import (
    __version__,
    config,
    distill_commands,
    feedback_commands,
    intent_commands,
    key_commands,
    listings,
    pattern_commands,
    route_commands,
    serving_commands,
    settings_commands,
    store_commands,
    student_commands,
    tool_commands,
    verdict_commands,
)
from .listings import DataOption, JsonOption
from .savings_commands import savings
from .traffic.errors import TutelageError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    help="A proxy that teaches a small model the repetitive part of your agents' work, and hands it over on proof.",
)
for _name in ("calls", "trajectories"):
    app.add_typer(getattr(listings, _name), name=_name)
intent_commands.add_intents(pattern_commands.patterns)
app.add_typer(distill_commands.distill, name="distill")
app.add_typer(student_commands.students, name="students")
app.add_typer(store_commands.store, name="store")
app.add_typer(pattern_commands.patterns, name="patterns")
app.add_typer(route_commands.routes, name="routes")
app.add_typer(verdict_commands.pairs, name="pairs")
app.add_typer(tool_commands.tools, name="tools")
app.add_typer(verdict_commands.judge, name="judge")
app.add_typer(key_commands.keys, name="keys")
app.add_typer(feedback_commands.feedback, name="feedback")
app.add_typer(settings_commands.settings, name="config")

app.command("savings")(savings)
app.command("serving")(serving_commands.serving)

err = Console(stderr=True)
ConfigOption = Annotated[Path | None, typer.Option("--config", help="Config file. Default: ./tutelage.toml if any.")]


def _version(asked: bool) -> None:
    if asked:
        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """Options of the program itself."""


@app.command()
def serve(
    teacher: Annotated[
        str | None,
        typer.Option(
            help="Base URL of the teacher, or a LiteLLM model (anthropic/…). Default: OPENAI_BASE_URL, else OpenAI."
        ),
    ] = None,
    data: DataOption = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Data-plane processes.")] = None,
    host: Annotated[str | None, typer.Option(help="Address of the agents' port.")] = None,
    port: Annotated[int | None, typer.Option(help="The agents' port. Default: 8400.")] = None,
    control_port: Annotated[int | None, typer.Option(help="Admin API and dashboard. Default: 8401.")] = None,
    student_port: Annotated[int | None, typer.Option(help="The student server. Default: 8402.")] = None,
    file: ConfigOption = None,
) -> None:
    """Start the proxy, the control plane and, once a student exists, the student server."""
    from . import processes

    chosen = config.load(
        file,
        teacher=teacher,
        data=data,
        workers=workers,
        host=host,
        port=port,
        control_port=control_port,
        student_port=student_port,
    )
    supervisor = processes.supervisor(chosen, say=lambda text: err.print(text, highlight=False))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.request_stop())
    supervisor.start()
    try:
        err.print(processes.screen(chosen, supervisor), highlight=False)
        supervisor.watch()
    finally:
        supervisor.stop()
    err.print("Stopped. Everything that was answered is in the store.")


@app.command()
def doctor(
    teacher: Annotated[str | None, typer.Option(help="As for `serve`.")] = None,
    data: DataOption = None,
    file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check settings, folder, ports, teachers, keys and extras, and say what to do. Exits with 1 on a problem."""
    from .doctor import examine

    chosen = config.load(file, teacher=teacher, data=data)
    found = []
    for finding in examine(chosen):
        found.append(asdict(finding))
        if not as_json:
            listings.report(finding.verdict, finding.check, finding.found, finding.advice)
    if as_json:
        listings.show(found, as_json)
    if any(one["verdict"] == "problem" for one in found):
        raise typer.Exit(1)


@app.command()
def status(data: DataOption = None, as_json: JsonOption = False) -> None:
    """What runs, what is stored, what is routed where."""
    listings.show_parts(listings.ask(data, "/api/status"), as_json)


@app.command()
def teacher(
    files: Annotated[list[Path], typer.Argument(help="Recorded traffic (docs/recorded-traffic.md).")],
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8410,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    latency_ms: Annotated[float, typer.Option(min=0, help="Wait before each answer.")] = 0.0,
) -> None:
    """Serve recorded answers as an OpenAI-compatible teacher."""
    from .proxy.recorded_teacher import serve_recorded

    serve_recorded(files, host=host, port=port, latency_ms=latency_ms)


@app.command()
def replay(
    files: Annotated[list[Path], typer.Argument(help="Recorded traffic (docs/recorded-traffic.md).")],
    base_url: Annotated[str, typer.Option(help="The proxy.")] = "http://127.0.0.1:8400/v1",
    concurrency: Annotated[int, typer.Option(min=1, help="Agents at the same time.")] = 8,
    limit: Annotated[int | None, typer.Option(min=1, help="Trajectories at most.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Drive recorded agents through a proxy."""
    from rich.progress import Progress

    from .proxy.replay import replay as run

    with Progress(console=err, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("calls", total=None)
        summary = run(
            files,
            base_url,
            concurrency=concurrency,
            limit=limit,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    listings.show(asdict(summary), as_json)


@app.command()
def demo(
    leave: Annotated[bool, typer.Option("--exit", help="End by itself instead of leaving the dashboard up.")] = False,
    file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the customers' messages.")] = 1,
    data: Annotated[
        Path | None, typer.Option("--data", help="Keep the data here. Default: a temporary folder.")
    ] = None,
) -> None:
    """The whole story in ten minutes on two cores: traffic, training, shadow, proof, live, a change, demotion."""
    from .examples.demo import Demo

    # As an exception, so that the processes of the demo are ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    figures: dict[str, Any] = Demo(console=err, seed=seed, data=data).run(leave_dashboard=not leave, figures=file)
    if file is None and leave:
        print(json.dumps(figures, indent=1))


def main() -> None:
    """Entry point: user errors become one line on stderr and exit code 1."""
    try:
        app()
    except TutelageError as error:
        err.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
