"""The errors that users can cause, as one tree.

    TutelageError
    ├── DataFolderError         the data folder cannot be used (missing rights, not a folder)
    │   └── DataFolderLocked    another process owns it
    ├── StoreTooNew             the database was written by a newer program
    ├── MissingExtra            an optional part is not installed
    ├── UnknownName             no such pattern, student, trajectory, call
    └── BadInput                a file or a setting that cannot be understood

Every message says what was expected, what came, and what to do. The command line prints the message alone and exits
with 1; programming errors are built-in exceptions and keep their traceback.
"""


class TutelageError(Exception):
    """Base of everything a user can cause."""


class DataFolderError(TutelageError):
    """The data folder cannot be used."""


class DataFolderLocked(DataFolderError):
    """Another process holds the data folder."""


class StoreTooNew(TutelageError):
    """The database was written by a newer version of this program."""


class MissingExtra(TutelageError):
    """An optional part is not installed; the message holds the `pip install` line."""

    def __init__(self, extra: str, missing: str) -> None:
        super().__init__(
            f"This command needs the package '{missing}', which is not installed. Run: pip install 'tutelage[{extra}]'"
        )
        self.extra = extra


class UnknownName(TutelageError):
    """No object of that name."""


class BadInput(TutelageError):
    """A file, a body or a setting that cannot be understood."""
