"""Every error Noren raises on purpose.

The class says what the program does, the message what the person does.

NorenError
├── SpecError           the user's file or request is wrong; never retried
├── NotFound            no deployment, revision or Bento of that name
├── Conflict            the state does not allow it now
│   └── Stale               ... because someone else changed it first: load again and decide again
└── DriverError         the machinery below us said no; never retried
    └── DriverUnavailable   ... for now; the loop tries again at its next tick
"""


class NorenError(Exception):
    """A problem that a person can read, and the step that mends it."""

    def __init__(self, problem: str, *, fix: str) -> None:
        super().__init__(f"{problem}\n  fix: {fix}")
        self.problem, self.fix = problem, fix


class SpecError(NorenError):
    """The user's file or request is wrong; never retried."""


class NotFound(NorenError):  # noqa: N818  the HTTP term reads better than NotFoundError
    """No deployment, revision or Bento of that name."""


class Conflict(NorenError):  # noqa: N818
    """The state does not allow it now."""


class Stale(Conflict):
    """Someone else changed it first: load again and decide again."""


class DriverError(NorenError):
    """The machinery below us said no; never retried."""


class DriverUnavailable(DriverError):  # noqa: N818
    """The machinery below us said no for now; the loop tries again at its next tick."""
