"""`noren new`: what it writes, what it refuses, and that it writes all or nothing."""

import ast
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from noren.cli import new
from noren.cli.app import app
from noren.domain.errors import Conflict, DriverError, SpecError
from noren.manifests.deployment_file import read

OWN = {
    "models/wine_taste.py",
    "training/wine_taste.py",
    "bentos/wine_taste/__init__.py",
    "bentos/wine_taste/json_only.py",
    "bentos/wine_taste/schema.py",
    "bentos/wine_taste/service.py",
    "bentos/wine_taste/bentofile.yaml",
    "loadtests/wine_taste.py",
    "deploy/wine_taste.yaml",
    "tests/test_wine_taste.py",
    "docs/services/wine_taste.md",
    "data/wine_taste.csv",
}
SHARED = {"models/__init__.py", "training/__init__.py", "bentos/__init__.py", "requirements.txt"}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def noren(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["new", *arguments])


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def made(tmp_path: Path) -> Path:
    said = noren("wine_taste")
    assert said.exit_code == 0, said.output
    return tmp_path


def test_an_empty_folder_gets_a_bundle_and_what_bundles_share(made: Path) -> None:
    assert files(made) == OWN | SHARED


def test_what_to_type_next_is_said(tmp_path: Path) -> None:
    said = noren("wine_taste", "--in", "my shop").output

    *_, heading, go, train, build, up, apply = [line.strip() for line in said.strip().splitlines()]
    assert (heading, go) == ("next:", "cd 'my shop'")
    assert (train, build, up) == ("noren train wine_taste", "noren build wine_taste", "noren up")
    assert apply == "noren apply deploy/wine_taste.yaml --wait"
    assert files(tmp_path / "my shop") == OWN | SHARED


def test_as_json_it_is_one_document() -> None:
    said = json.loads(noren("wine_taste", "--json").stdout)

    assert set(said["files"]) == OWN | SHARED
    assert said["next"][0] == "noren train wine_taste"


def test_a_second_bundle_keeps_what_is_shared(made: Path) -> None:
    (made / "models/__init__.py").write_text("# mine\n")
    (made / "requirements.txt").write_text("mine\n")

    assert noren("tea").exit_code == 0

    assert (made / "models/__init__.py").read_text() == "# mine\n"
    assert (made / "requirements.txt").read_text() == "mine\n"
    assert "models/tea.py" in files(made)


def test_a_project_with_requirements_elsewhere_gets_no_second_list(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()

    assert noren("tea").exit_code == 0
    assert "requirements.txt" not in files(tmp_path)


# What is written


def test_every_python_file_is_python_and_nothing_of_the_template_is_left(made: Path) -> None:
    for path in made.rglob("*"):
        if path.is_file():
            text = path.read_text()
            assert [word for word in ("{{", "}}", "{%", "NAME") if word in text] == [], path
            assert not text or text.endswith("\n")
            if path.suffix == ".py":
                compile(text, str(path), "exec")


def test_it_needs_nothing_of_noren_and_serving_nothing_of_training(made: Path) -> None:
    for path in made.rglob("*.py"):
        found = imported(path)
        assert "noren" not in found, path
        if path.is_relative_to(made / "bentos") or path.is_relative_to(made / "models"):
            assert found <= {"bentoml", "bentos", "models", "numpy", "pydantic"} | sys.stdlib_module_names, path
        if path.is_relative_to(made / "loadtests"):
            assert found <= {"locust"} | sys.stdlib_module_names


def test_the_deployment_is_valid_and_its_gate_asks_for_a_metric_that_training_stores(made: Path) -> None:
    declared = read(made / "deploy/wine_taste.yaml")

    assert (declared.spec.name, declared.spec.bento) == ("wine-taste", "wine_taste:latest")
    assert declared.locustfile == (made / "loadtests/wine_taste.py").read_text()
    assert declared.spec.gates.quality
    assert f'"{declared.spec.gates.quality.metric}":' in (made / "training/wine_taste.py").read_text()


def test_the_bentofile_names_the_service_files_that_are_there_and_exact_versions(made: Path) -> None:
    bentofile = yaml.safe_load((made / "bentos/wine_taste/bentofile.yaml").read_text())

    assert bentofile["service"] == "bentos.wine_taste.service:WineTasteService"
    assert "class WineTasteService:" in (made / "bentos/wine_taste/service.py").read_text()
    assert all(list(made.glob(pattern)) for pattern in bentofile["include"])
    assert all(requirement.count("==") == 1 for requirement in bentofile["python"]["packages"])
    assert (made / bentofile["description"].removeprefix("file: ")).is_file()


# What is refused


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("Wine-Taste!", "wine_taste"),
        ("wine taste", "wine_taste"),
        ("_wine", "wine"),
        ("wine_", "wine"),
        ("wine__taste", "wine_taste"),
        ("3d", "d"),
        ("42", "my_model"),
        ("", "my_model"),
        ("../wine", "wine"),
        ("wine\n", "wine"),
        ("weiß", "wei"),
        ("Class", "my_model"),
        ("w" * 51, "w" * 50),
    ],
)
def test_a_bad_name_is_refused_with_a_better_one(tmp_path: Path, name: str, suggested: str) -> None:
    said = noren("--", name)

    assert isinstance(said.exception, SpecError)
    assert said.exception.fix == f"for example: noren new {suggested}"
    assert files(tmp_path) == set()
    new.check(suggested)


@pytest.mark.parametrize("name", ["class", "import", "json", "random", "locust", "numpy", "noren", "pydantic"])
def test_words_of_python_and_installed_modules_are_reserved(tmp_path: Path, name: str) -> None:
    with pytest.raises(SpecError, match="a word of Python, or a module") as refused:
        new.check(name)

    assert refused.value.fix == f"for example: noren new {name}_model"
    new.check(f"{name}_model")


@pytest.mark.parametrize("there", sorted(OWN))
def test_nothing_is_ever_overwritten(tmp_path: Path, there: str) -> None:
    (tmp_path / there).parent.mkdir(parents=True)
    (tmp_path / there).write_text("mine")

    said = noren("wine_taste")

    assert isinstance(said.exception, Conflict)
    assert there in said.exception.problem
    assert files(tmp_path) == {there}
    assert (tmp_path / there).read_text() == "mine"


def test_a_module_that_a_new_package_would_hide_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text("mine")

    said = noren("wine_taste")

    assert isinstance(said.exception, Conflict)
    assert "would hide it" in said.exception.problem
    assert files(tmp_path) == {"models.py"}


def test_when_a_file_cannot_be_written_none_is_there(tmp_path: Path) -> None:
    (tmp_path / "training").write_text("a file in the place of a folder")
    (tmp_path / "docs").mkdir()

    said = noren("wine_taste")

    assert isinstance(said.exception, DriverError)
    assert "training" in said.exception.problem
    assert sorted(path.name for path in tmp_path.iterdir()) == ["docs", "training"]
    assert list((tmp_path / "docs").iterdir()) == []


def test_an_interrupt_takes_back_what_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = new._make_folders

    def interrupted(folder: Path, undo: Any) -> None:
        if folder.name == "training":
            raise KeyboardInterrupt
        make(folder, undo)

    monkeypatch.setattr(new, "_make_folders", interrupted)

    with pytest.raises(KeyboardInterrupt):
        new.write(tmp_path / "shop", new.render("tea"))

    assert list(tmp_path.iterdir()) == []


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    contents = {Path("a.py"): "ours", Path("b.py"): "ours"}
    (tmp_path / "b.py").write_text("theirs")

    with pytest.raises(Conflict, match=r"b\.py has just been made"):
        new.write(tmp_path, contents)

    assert files(tmp_path) == {"b.py"}
    assert (tmp_path / "b.py").read_text() == "theirs"


def imported(path: Path) -> set[str]:
    """The top-level modules that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module).partition(".")[0])
    return found
