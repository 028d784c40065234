"""From what went wrong to what the shell is told: the one table of errors and exit codes.

Only the outermost edge uses it. A fault that is not in the table is a bug, and keeps its traceback.
"""

from importlib import import_module

from deploy.errors import DeployError, ExitCode

_FAMILIES = (
    ("audit.settings", "SettingsError", ExitCode.SETTINGS),
    ("audit.errors", "KeyFileError", ExitCode.SETTINGS),
    ("audit.errors", "AuditError", ExitCode.FAULT),
    ("protocol.errors", "ProtocolError", ExitCode.FAULT),
    ("hospital_node.imaging.errors", "ImagingError", ExitCode.IMAGES),
    ("hospital_node.errors", "ConfigurationError", ExitCode.SETTINGS),
    ("hospital_node.errors", "CohortError", ExitCode.IMAGES),
    ("hospital_node.errors", "NodeError", ExitCode.FAULT),
    ("services.errors", "ConfigurationError", ExitCode.SETTINGS),
    ("services.errors", "CentreError", ExitCode.FAULT),
)
"""Module, error and code; the first that fits counts. What is not installed cannot be raised."""


def exit_code_of(error: Exception) -> ExitCode | None:
    """The code for an error whose text is all that a person needs; none for a bug."""
    if isinstance(error, DeployError):
        return error.code
    for module, name, code in _FAMILIES:
        kind = _kind(module, name)
        if kind is not None and isinstance(error, kind):
            return code
    return None


def _kind(module: str, name: str) -> type[Exception] | None:
    try:
        found = getattr(import_module(module), name)
    except ImportError:
        return None
    return found if isinstance(found, type) and issubclass(found, Exception) else None
