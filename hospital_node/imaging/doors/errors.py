"""What can go wrong at a door. No text here holds a title, a name or a UID that a peer sent."""

from hospital_node.errors import ConfigurationError
from hospital_node.imaging.errors import ImagingError


class DoorError(ImagingError):
    """A door cannot be opened, or what lies behind it cannot be used."""


class DoorSettingsError(ConfigurationError):
    """The settings of a door name something that is not there or does not fit."""


class InboxFullError(DoorError):
    """The disk of the inbox is so full that nothing more may be taken in."""


class PeerError(DoorError):
    """A peer does not answer, or does not want us."""

    def __init__(self, text: str, fault: str = "") -> None:
        super().__init__(text)
        self.fault = fault
        """The kind of fault, one of `peer.Fault`."""


class RetrieveError(DoorError):
    """The PACS answered and did not do what it was asked."""
