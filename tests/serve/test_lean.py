"""What is imported late must be found all the same, by everyone and in every way of importing."""

import subprocess
import sys

import pytest

LATE = ("aiohttp", "_bentoml_impl.server.proxy", "bentoml._internal.utils.circus", "httpx._main")


def run(code: str) -> str:
    """What a fresh interpreter prints that has put the stand-ins in place."""
    start = "import sys; from noren_serve import lean; lean.defer()\n"
    done = subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_serving_does_not_import_what_only_other_jobs_need() -> None:
    assert run(
        "import bentoml, noren_serve.app\n"
        f"print([name for name in {LATE!r} if type(sys.modules.get(name)) is not lean._Deferred])\n"
        "print('aiohttp.client' in sys.modules, 'circus' in sys.modules)"
    ).splitlines() == ["[]", "False False"]


@pytest.mark.parametrize(
    "code",
    [
        "import aiohttp; print(aiohttp.ClientSession.__module__)",
        "from aiohttp import ClientSession; print(ClientSession.__module__)",
        "import aiohttp.client; print(aiohttp.client.ClientSession.__module__)",
        "import aiohttp, aiohttp.web; print(aiohttp.web.Application and aiohttp.ClientSession.__module__)",
        "from aiohttp import web; import aiohttp; print(web.Application and aiohttp.ClientSession.__module__)",
        "from aiohttp import *; print(ClientSession.__module__)",
        "import importlib; print(importlib.import_module('aiohttp').ClientSession.__module__)",
    ],
)
def test_a_service_that_uses_aiohttp_finds_it_in_every_way_of_importing(code: str) -> None:
    assert run(code) == "aiohttp.client"


def test_a_library_that_asks_whether_aiohttp_is_installed_is_told_so() -> None:
    assert run("import importlib.util; print(importlib.util.find_spec('aiohttp').name)") == "aiohttp"


def test_asking_all_modules_for_private_names_loads_nothing() -> None:
    """As `inspect` and warning filters do."""
    assert (
        run(
            "for module in list(sys.modules.values()): getattr(module, '__warningregistry__', None)\n"
            "print('aiohttp.client' in sys.modules)"
        )
        == "False"
    )


def test_a_stand_in_for_a_function_calls_the_real_one() -> None:
    assert run(
        "import bentoml; from bentoml._internal.utils.circus import create_standalone_arbiter as make\n"
        "try:\n    make()\nexcept TypeError as error:\n    print('circus' in sys.modules, error)"
    ).startswith("True create_standalone_arbiter() missing")


def test_what_is_imported_already_stays_as_it_is() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, aiohttp; from noren_serve import lean; lean.defer(); print(sys.modules['aiohttp'] is aiohttp)",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "True"
