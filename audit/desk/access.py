"""Access: the dependencies by which a route says who may call it.

The one rule: who somebody is was settled before a route is even looked for (`recording`); here only
their role is held against what the route asks. A route without a role is one for all who are known.
"""

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from audit.desk.callers import EVERYBODY, READERS, Caller, NotAdmittedError, Refused, Role
from audit.desk.desk import Desk

__all__ = ["EVERYBODY", "READERS", "Behind", "Caller", "Role", "desk_of", "require"]

_bearer = HTTPBearer(
    scheme_name="bearer",
    bearerFormat="wardround-<id>.<secret>, or a JWT",
    description="An API key (`wardround audit key new`), or an access token of the identity "
    "provider that the desk's settings name.",
    auto_error=False,
)


def desk_of(request: Request) -> Desk:
    """The desk that answers a request."""
    desk: Desk = request.app.state.desk
    return desk


Behind = Annotated[Desk, Depends(desk_of)]
"""What stands behind a route."""


def require(*roles: Role) -> Callable[..., Caller]:
    """A dependency that gives the caller, and turns away who has none of these roles.

    Raises:
        NotAdmittedError: from the dependency: the caller's role is another.
    """

    def admit(request: Request, _: Annotated[object, Depends(_bearer)]) -> Caller:
        caller: Caller = request.state.caller
        if caller.role not in roles:
            raise NotAdmittedError(
                Refused.WRONG_ROLE,
                f"the role {caller.role} does not go so far; this needs {' or '.join(roles)}",
            )
        return caller

    return admit
