"""What can go wrong while putting the parties together, each with its exit code."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What the commands of this package return to the shell; the one table."""

    OK = 0
    FAULT = 1
    """Something broke that the caller did not do."""
    USAGE = 2
    """The command line itself is wrong (typer's own code)."""
    SETTINGS = 3
    """A settings file, a DSN or an option has a fault."""
    IMAGES = 4
    """The images or their labels cannot be used."""
    PROCESS = 5
    """A process ended or did not become ready; its last lines are shown."""
    DATABASE = 6
    """PostgreSQL could not be started or reached."""
    NOT_VERIFIED = 7
    """The run ended, and the log does not verify."""
    INTERRUPTED = 130
    """Ctrl-C, as shells count it (128 + SIGINT)."""


class DeployError(Exception):
    """Something an operator can mend; the text says how."""

    code = ExitCode.FAULT


class ImagesError(DeployError):
    """The images or their labels cannot be used."""

    code = ExitCode.IMAGES


class ProcessError(DeployError):
    """A process ended or did not become ready."""

    code = ExitCode.PROCESS


class ErrandError(DeployError):
    """A command ended with a fault of its own; its code is passed on where it is one of ours."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.code = ExitCode(status) if status in set(ExitCode) else ExitCode.FAULT


class DatabaseError(DeployError):
    """PostgreSQL could not be started or reached."""

    code = ExitCode.DATABASE


class VerificationError(DeployError):
    """The log of a finished run does not verify."""

    code = ExitCode.NOT_VERIFIED
