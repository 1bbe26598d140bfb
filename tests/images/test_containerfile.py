"""The text of a Containerfile."""

import json
import re
from typing import Any

import pytest

from noren.domain.errors import SpecError
from noren.images.bento import Bento, read
from noren.images.containerfile import containerfile
from tests.images.conftest import Make

LABELS = {"noren.bento": "shop:v1"}


def write(bento: Bento, **given: Any) -> str:
    return containerfile(bento, **{"base": "localhost/base:1", "labels": LABELS, **given})


def instructions(text: str) -> list[str]:
    joined = re.sub(r"\\\n\s*", " ", text)
    return [line for line in joined.splitlines() if line and not line.startswith("#")]


def result(text: str) -> list[str]:
    """The stage that the image is made of."""
    lines = instructions(text)
    return lines[max(i for i, line in enumerate(lines) if line.startswith("FROM ")) :]


def test_the_result_has_neither_the_tools_nor_the_installation(make: Make) -> None:
    copied = [line for line in result(write(read(make()))) if line.startswith("COPY")]

    assert copied == [
        "COPY --from=builder /opt/noren /opt/noren",
        "COPY --from=source /app/bento/src src",
        "COPY weights ./",
        "COPY bento ./",
    ]


def test_what_changes_most_comes_last(make: Make) -> None:
    lines = result(write(read(make())))
    order = ["COPY --from=builder", "ENTRYPOINT", "COPY --from=source", "COPY weights", "COPY bento", "LABEL"]
    places = [next(i for i, line in enumerate(lines) if line.startswith(start)) for start in order]
    assert places == sorted(places)


def test_it_serves_as_a_numeric_user_that_owns_nothing(make: Make) -> None:
    text = write(read(make()))
    assert "USER 65532:65532" in result(text)
    assert "chown" not in text


def test_it_has_a_health_check_and_noren_serve_as_entry_point(make: Make) -> None:
    lines = result(write(read(make())))
    assert 'ENTRYPOINT ["noren-serve", "/app/bento", "--host", "0.0.0.0", "--port", "3000"]' in lines
    (check,) = [line for line in lines if line.startswith("HEALTHCHECK")]
    assert json.loads(check.partition("CMD ")[2])[0] == "python"


def test_compilers_are_fetched_only_where_packages_cannot_be_installed_without(make: Make) -> None:
    (line,) = [line for line in instructions(write(read(make()), added=["uvloop==0.23.0"])) if "pip install" in line]
    command = json.loads(line[line.index("[") :])[-1]

    packages = "uv pip install -r ../env/python/requirements.txt uvloop==0.23.0 ../wheels/*.whl"
    tools = "apt-get update && apt-get install -q -y ca-certificates build-essential git"
    assert command == f"{packages} || {{ {tools} && {packages}; }}"


def test_the_users_commands_run_in_what_is_served_and_compilers_do_not(make: Make) -> None:
    bento = read(make(image={"commands": ["apt-get install -q -y libgomp1"]}))
    ground = write(bento).partition("AS builder")[0]
    assert "apt-get update && apt-get install -q -y libgomp1 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*" in ground


def test_a_command_stays_one_instruction_whatever_is_in_it(make: Make) -> None:
    command = "echo 'a\nUSER root' \\\n && echo \"$HOME\" {{ 7 * 7 }}"
    text = write(read(make(image={"commands": [command]})))

    assert [line for line in instructions(text) if line.startswith("USER")] == ["USER 65532:65532"]
    (line,) = [line for line in text.splitlines() if line.startswith("RUN [") and "USER root" in line]
    assert json.loads(line.removeprefix("RUN ")) == ["/bin/sh", "-c", command]


def test_values_are_taken_literally(make: Make) -> None:
    bento = read(make(envs=[{"name": "GREETING", "value": 'say "hi" to $USER \\ {{ 1 }}', "stage": "runtime"}]))
    assert 'ENV GREETING="say \\"hi\\" to \\$USER \\\\ {{ 1 }}"' in result(write(bento))


@pytest.mark.parametrize("value", ["a\nUSER root", "a\rb", "a\x00b"])
def test_a_value_of_several_lines_is_refused(make: Make, value: str) -> None:
    with pytest.raises(SpecError, match="line break"):
        write(read(make()), labels={"noren.bento": value})


def test_secrets_are_mounted_for_commands_and_written_nowhere(make: Make) -> None:
    bento = read(
        make(image={"commands": ["fetch"], "post_commands": ["train"]}, envs=[{"name": "TOKEN", "stage": "build"}])
    )
    text = write(bento, secrets=["TOKEN"])

    running = [line for line in instructions(text) if "secret" in line]
    assert [line for line in running if not line.startswith("RUN ")] == []
    assert len(running) == 3  # the user's two, and the installation of packages
    assert all(
        'export TOKEN="$(cat /run/secrets/TOKEN)"; ' in json.loads(line[line.index("[") :])[-1] for line in running
    )
    assert not re.search(r"^(ENV|ARG).*TOKEN", text, re.MULTILINE)


def test_no_other_syntax_than_every_engine_knows(make: Make) -> None:
    """No `# syntax=` line, which would be fetched from a registry, and no here-documents, which podman 4 lacks."""
    bento = read(make(image={"commands": ["one"], "post_commands": ["two"]}, envs=[{"name": "A", "value": "1"}]))
    text = write(bento, scripts=True, configuration=True)

    assert "syntax" not in text
    assert "<<" not in text
    known = {"FROM", "ENV", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "LABEL"}
    assert {line.split()[0] for line in instructions(text)} == known
