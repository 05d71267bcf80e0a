"""The admin API's part for student versions: what there is, who learnt from a call, retiring and deleting."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from ..traffic.errors import BadInput, UnknownName
from ..traffic.students import Manifest, StudentRegister
from .admin_http import answer, read_body
from .operators import Wish
from .overview import Overview
from .states import SERVING
from .student_needs import needs_of

_log = logging.getLogger(__name__)


class RetireOrder(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /api/students/VERSION/retire`."""

    reason: str
    actor: str = "api"


class DeleteOrder(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /api/students/VERSION/delete`."""

    actor: str = "api"


@dataclass(frozen=True)
class StudentAdmin:
    """What these routes need."""

    overview: Overview
    register: StudentRegister
    clock: Callable[[], float]

    def retire(self, version: str, order: RetireOrder) -> Manifest:
        """Take a version out of use: every pattern that it serves or is tried on goes back to the teacher first.

        Raises UnknownName, and BadInput without a reason.
        """
        if not order.reason.strip():
            raise BadInput("Say why: a reason is kept with the version.")
        manifest, keeper = self.register.get(version), self.overview.keeper
        for pattern in manifest.pattern_ids:
            for state in keeper.board.states(pattern):
                if state.student == version and state.state in ("shadow", *SERVING):
                    wish = Wish("demote", order.actor, f"retired: {order.reason}", version)
                    keeper.operate(pattern, wish)
        return self.register.retire(version, order.actor, order.reason, self.clock())

    def delete(self, version: str, order: DeleteOrder) -> dict[str, str]:
        """Remove a version and its files. Raises UnknownName, and BadInput while a route uses it."""
        manifest, board = self.register.get(version), self.overview.keeper.board
        for pattern in manifest.pattern_ids:
            for state in board.states(pattern):
                if state.student == version and state.state in ("shadow", *SERVING):
                    raise BadInput(
                        f"{version} is in {state.state} on the pattern {pattern}. Retire it first: "
                        f"POST /api/students/{version}/retire, or the button on its page."
                    )
        self.register.delete(version)
        # Nothing is left of the version that could say it.
        _log.info("The student version %s was deleted by %s.", version, order.actor)
        return {"deleted": version}

    def plot(self, version: str, name: str) -> bytes:
        """A drawing of a version. Raises UnknownName."""
        if name not in self.register.get(version).plots:
            raise UnknownName(f"{version} has no drawing {name!r}. Its manifest names them.")
        return (self.register.path(version) / name).read_bytes()

    def lineage(self, name: str) -> dict[str, object]:
        """Which versions learnt from a call or a trajectory. An unknown one has taught nobody."""
        found = self.register.learnt_from(name)
        statuses = {one.version: one.status for one in self.register.list()}
        rows = [
            {
                "version": version,
                "status": statuses[version],
                "rows": len(lessons),
                "calls": sorted({call for lesson in lessons for call in lesson.call_ids}),
            }
            for version, lessons in found.items()
        ]
        return {"name": name, "versions": rows}


def add_students(app: FastAPI, admin: StudentAdmin) -> None:
    """Add the routes under `/api/students`."""

    @app.get("/api/students")
    def students() -> Response:
        return answer(admin.register.list())

    @app.get("/api/students/{version}")
    def student(version: str) -> Response:
        return answer(admin.register.get(version))

    @app.get("/api/students/{version}/plots/{name}")
    def plot(version: str, name: str) -> Response:
        # A drawing may do nothing, even when it is opened by itself.
        policy = {"content-security-policy": "default-src 'none'; sandbox"}
        return Response(admin.plot(version, name), media_type="image/svg+xml", headers=policy)

    @app.get("/api/needs")
    def needs() -> Response:
        idle_s = admin.overview.options.routing.session_idle_s
        return answer(needs_of(admin.overview.store, admin.register, admin.overview.board, idle_s, admin.clock()))

    @app.get("/api/lineage/{name}")
    def lineage(name: str) -> Response:
        return answer(admin.lineage(name))

    @app.post("/api/students/{version}/delete")
    async def delete(version: str, request: Request) -> Response:
        order = await read_body(request, DeleteOrder)
        return answer(await run_in_threadpool(admin.delete, version, order))

    @app.post("/api/students/{version}/retire")
    async def retire(version: str, request: Request) -> Response:
        order = await read_body(request, RetireOrder)
        return answer(await run_in_threadpool(admin.retire, version, order))
