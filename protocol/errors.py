"""What can be wrong with something another party said."""


class ProtocolError(Exception):
    """Another party's message breaks the protocol; the peer is at fault."""


class RecordError(ProtocolError):
    """A record's bytes are not canonical, or its fields break its schema."""


class LayoutError(ProtocolError):
    """A packed array does not have the layout that was agreed."""


class TransitionError(ProtocolError):
    """A round was asked to move to a state it cannot reach from where it is."""
