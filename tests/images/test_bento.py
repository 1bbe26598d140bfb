"""What is read of a built Bento, and which Bentos no image is made of."""

from typing import Any

import pytest

from noren.domain.errors import SpecError
from noren.images.bento import read
from tests.images.conftest import Make

SECRET = "hunter2"  # noqa: S105


def test_compilers_are_told_from_what_the_user_wants(make: Make) -> None:
    tools = "apt-get update && apt-get install -q -y ca-certificates build-essential git"
    bento = read(
        make(image={"commands": [tools, tools, "apt-get install -q -y libgomp1"], "post_commands": ["echo done"]})
    )

    assert bento.tools == tools
    assert bento.commands == ("apt-get install -q -y libgomp1",)
    assert bento.post_commands == ("echo done",)


def test_a_first_command_of_the_user_is_kept(make: Make) -> None:
    bento = read(make(image={"commands": ["echo gcc"]}))
    assert (bento.tools, bento.commands) == (None, ("echo gcc",))


def test_a_variable_goes_where_its_stage_says(make: Make) -> None:
    bento = read(
        make(
            envs=[
                {"name": "BOTH", "value": "1"},
                {"name": "RUN", "value": "2", "stage": "runtime"},
                {"name": "TOKEN", "stage": "build"},
                {"name": "LATER", "value": ""},
            ]
        )
    )

    assert bento.variables == {"BOTH": "1"}
    assert bento.run_variables == {"RUN": "2"}
    assert bento.secrets == ("TOKEN",)


def test_the_models_of_all_services_are_found_once(make: Make) -> None:
    services = [{"models": [{"tag": "taste:m1"}]}, {"models": [{"tag": "taste:m1"}, {"tag": "smell:m2"}]}]
    assert [model.tag for model in read(make(services=services)).models] == ["taste:m1", "smell:m2"]


def test_a_value_for_the_build_only_is_refused_and_not_repeated(make: Make) -> None:
    with pytest.raises(SpecError, match="TOKEN") as refused:
        read(make(envs=[{"name": "TOKEN", "value": SECRET, "stage": "build"}]))
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "lock",
    [
        f"--index-url https://me:{SECRET}@pypi.example/simple\n",
        f"shop @ git+https://me:{SECRET}@git.example/shop.git\n",
    ],
)
def test_a_password_in_the_lock_is_refused_and_not_repeated(make: Make, lock: str) -> None:
    with pytest.raises(SpecError, match="UV_INDEX_URL") as refused:
        read(make(lock=lock))
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "manifest",
    [
        {"name": "../shop"},
        {"version": "v1\nUSER root"},
        {"version": "-v"},
        {"services": [{"models": [{"tag": "../../etc:passwd"}]}]},
        {"services": [{"models": [{"tag": "taste:.."}]}]},
        {"envs": [{"name": "A=1\nUSER root"}]},
        {"image": {"python_version": "3.11; rm -rf /"}},
    ],
    ids=str,
)
def test_a_manifest_that_would_name_other_things_is_refused(make: Make, manifest: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        read(make(**manifest))


def test_a_bento_of_the_old_kind_is_left_to_bentoml(make: Make) -> None:
    folder = make()
    (folder / "bento.yaml").write_text("name: shop\nversion: v1\ndocker: {distro: debian}\n")
    with pytest.raises(SpecError, match="bentoml containerize"):
        read(folder)
