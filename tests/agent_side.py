"""The agent's side of a call, for tests that need no socket."""


class Said:
    """Remembers what the agent was sent."""

    begun = False

    def whole(self, status: int, headers: str, body: bytes) -> None:
        lines = headers.split("\r\n")
        self.headers = dict(line.split(": ", 1) for line in lines if line)
        self.status, self.body = status, body
