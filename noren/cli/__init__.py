"""The command line: `noren <verb>`. One module per verb; errors and exit codes in one place, here.

Exit codes: 0 done; 1 a rollout did not succeed; 2 the input is wrong; 3 there is no such thing; 4 the state
does not allow it; 5 the machinery does not work, or no control plane is running; 130 Ctrl-C.
"""

import sys

from noren.domain.errors import Conflict, DriverError, NorenError, NotFound, SpecError

_EXIT_CODES = {SpecError: 2, NotFound: 3, Conflict: 4, DriverError: 5}
_LONGEST = 300  # of what the system says, which may quote an argument


def main() -> None:
    """Run the command line. What goes wrong is a message and an exit code, never a traceback."""
    try:
        from noren.cli.app import app  # half a second, in which Ctrl-C may come too

        app()
    except NorenError as error:
        sys.exit(_report(error))
    except OSError as error:  # a full disk, a file that is gone, a name that no file can have
        fix = "see that it is there and may be used, and that the disk has space left"
        sys.exit(_report(DriverError(str(error)[:_LONGEST], fix=fix)))
    except KeyboardInterrupt:
        sys.exit(130)


def _report(error: NorenError) -> int:
    from noren.cli.console import errors

    # An argument that is quoted may be no UTF-8.
    problem, fix = (text.encode(errors="backslashreplace").decode() for text in (error.problem, error.fix))
    errors.print("error:", problem, style="red", markup=False, highlight=False, soft_wrap=True)
    errors.print("  fix:", fix, markup=False, highlight=False, soft_wrap=True)
    return next(code for kind, code in _EXIT_CODES.items() if isinstance(error, kind))
