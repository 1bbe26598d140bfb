"""Which checks the gate carries out."""

from dataclasses import replace
from pathlib import Path

from noren.control.ports import GateRun
from noren.domain.deployment import Gates, LoadGate, QualityGate, Revision, Route
from noren.domain.verdict import Outcome
from noren.gates import check

ONLY_QUALITY = Gates(smoke=False, quality=QualityGate(metric="auc"), load=LoadGate(enabled=False))
RUN = GateRun(
    name="tea-2-1",
    green=Revision(
        deployment="tea", number=2, bento="tea:v2", route=Route(prefix="/tea", host="tea.x"), gates=ONLY_QUALITY
    ),
    blue=None,
    attempt=1,
    green_url="http://127.0.0.1:1",
    blue_url=None,
    headers={},
)


def test_in_an_emergency_no_model_is_held_against_that_of_a_broken_blue(tmp_path: Path) -> None:
    assert [found.name for found in check.judge(RUN, tmp_path).checks] == ["quality"]
    assert check.judge(replace(RUN, emergency=True), tmp_path).checks == ()


def test_an_emergency_in_which_nothing_is_asked_passes_nobody(tmp_path: Path) -> None:
    assert check.judge(replace(RUN, emergency=True), tmp_path).outcome is Outcome.INVALID
