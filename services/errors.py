"""What can go wrong at the centre, apart from what other parties get wrong."""

from audit.settings import SettingsError


class CentreError(Exception):
    """Something at the centre must be put right before work can go on."""


class ConfigurationError(CentreError, SettingsError):
    """A file the centre needs is missing, unreadable or contradicts another one."""


class NotFoundError(CentreError):
    """The operator named a plan or a run that the centre does not know."""


class NotActiveError(CentreError):
    """The consortium's rule has not made this plan active."""


class BusyError(CentreError):
    """The centre is doing something that excludes what was asked."""
