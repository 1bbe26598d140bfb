"""Rules about the repository as a whole that no linter expresses."""

import ast
import json
import re
from pathlib import Path

import pytest

from noren.domain.foresight import too_few_requests
from noren.manifests.deployment_file import DeploymentFile, read

ROOT = Path(__file__).resolve().parent.parent


def test_the_committed_schema_is_the_one_that_noren_schema_prints() -> None:
    committed = json.loads((ROOT / "deploy" / "deployment.schema.json").read_text())
    assert committed == DeploymentFile.model_json_schema(), "run: uv run noren schema > deploy/deployment.schema.json"


@pytest.mark.parametrize("path", sorted((ROOT / "deploy").glob("*.yaml")), ids=lambda path: path.name)
def test_every_deployment_of_the_shop_is_valid_and_named_like_its_file(path: Path) -> None:
    assert read(path).spec.name == path.stem.replace("_", "-")


@pytest.mark.parametrize("path", sorted((ROOT / "deploy").glob("*.yaml")), ids=lambda path: path.name)
def test_the_load_test_of_each_deployment_of_the_shop_can_tell_what_it_is_asked(path: Path) -> None:
    revision = read(path).revision()
    assert too_few_requests(revision, blue=revision) == ""


@pytest.mark.parametrize("path", sorted((ROOT / "loadtests").glob("*.py")), ids=lambda path: path.name)
def test_a_load_test_stands_alone_because_its_text_alone_is_sent_to_the_gate(path: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
    assert not imported & {"noren", "bentos", "models", "training"}


@pytest.mark.parametrize("page", sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]), ids=lambda p: p.name)
def test_what_a_page_links_to_exists(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_committed_figure_names_its_command_and_holds() -> None:
    for file in (ROOT / "benchmarks" / "results").glob("*.json"):
        document = json.loads(file.read_text())
        assert document["command"].startswith("make bench-")
        assert document["rows"]
