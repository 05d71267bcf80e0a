"""One code path for commands: in this process here, over HTTP in test_control."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from tutelage.proxy.admin_client import AdminClient, error_of
from tutelage.proxy.control_lock import ControlLock
from tutelage.traffic.errors import BadInput, DataFolderLocked, TutelageError, UnknownName
from tutelage.traffic.journal import JournalWriter
from tutelage.traffic.layout import DataDir
from tutelage.traffic.records import encode


def test_without_a_control_plane_the_client_is_one(tmp_path: Path, make_call: Any) -> None:
    data = DataDir(tmp_path).prepare()
    writer = JournalWriter(data.journal)
    writer.append(encode(make_call([{"role": "user", "content": "hi"}], {"role": "assistant", "content": "yes"})))
    writer.close()
    with AdminClient.open(data) as client:
        assert client.get("/api/store/stats")["calls"] == 1  # the journal is taken in first
        assert len(client.get("/api/calls", limit=5, pattern=None)) == 1
        assert client.post("/api/off")["off"] is True
        with pytest.raises(UnknownName, match="no pattern 'x'"):
            client.post("/api/routes/x/off", {"reason": "r"})
        with pytest.raises(BadInput, match="limit"):
            client.get("/api/calls", limit=-1)
        with pytest.raises(DataFolderLocked):
            ControlLock.acquire(data)
    ControlLock.acquire(data).release()


def test_a_folder_that_another_command_uses(tmp_path: Path) -> None:
    data = DataDir(tmp_path).prepare()
    with ControlLock.acquire(data), pytest.raises(DataFolderLocked, match="in use by process"):
        AdminClient.open(data)


@pytest.mark.parametrize(
    ("response", "kind", "words"),
    [
        (httpx.Response(404, json={"error": {"type": "UnknownName", "message": "no such"}}), UnknownName, "no such"),
        (httpx.Response(500, json={"error": {"type": "SystemExit", "message": "odd"}}), TutelageError, "odd"),
        (httpx.Response(500, json={"error": {"type": "MissingExtra", "message": "odd"}}), TutelageError, "odd"),
        (httpx.Response(502, text="<html>"), TutelageError, "502"),
        (httpx.Response(400, json=[1]), TutelageError, "400"),
    ],
)
def test_errors_of_the_api_keep_their_class(response: httpx.Response, kind: type[Exception], words: str) -> None:
    error = error_of(response)
    assert type(error) is kind
    assert words in str(error)
