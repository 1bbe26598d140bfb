"""The command line: `noren <verb>`. One module per verb; errors and exit codes in one place, here.

Exit codes: 0 done; 1 a rollout did not succeed; 2 the input is wrong; 3 there is no such thing; 4 the state
does not allow it; 5 the machinery does not work, or no control plane is running; 130 Ctrl-C.
"""

import sys

from noren.domain.errors import Conflict, DriverError, NorenError, NotFound, SpecError

_EXIT_CODES = {SpecError: 2, NotFound: 3, Conflict: 4, DriverError: 5}


def main() -> None:
    """Run the command line. A NorenError is a message and an exit code, never a traceback."""
    try:
        from noren.cli.app import app  # half a second, in which Ctrl-C may come too

        app()
    except NorenError as error:
        sys.exit(_report(error))
    except KeyboardInterrupt:
        sys.exit(130)


def _report(error: NorenError) -> int:
    from noren.cli.console import errors

    errors.print("error:", error.problem, style="red", markup=False, highlight=False, soft_wrap=True)
    errors.print("  fix:", error.fix, markup=False, highlight=False, soft_wrap=True)
    return next(code for kind, code in _EXIT_CODES.items() if isinstance(error, kind))
