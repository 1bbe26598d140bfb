"""noren status: what is there now."""

from rich.table import Table
from rich.text import Text

from noren.api.schemas import DeploymentView, ReplicaView
from noren.cli.console import AsJson, OptionalName, client, out, outcome, print_json, state


def status(name: OptionalName = None, as_json: AsJson = False) -> None:
    """Show deployments: live revision and Bento, traffic, rollout, replicas, last verdict."""
    control = client()
    everything = control.status()
    if name:
        everything = everything.model_copy(update={"deployments": [control.deployment(name)]})
    if as_json:
        return print_json(everything)
    if not everything.deployments:
        out.print("no deployments yet: `noren apply deploy/<name>.yaml` makes one")
        return None
    table = Table("deployment", "live", "bento", "traffic", "rollout", "replicas", "last verdict", box=None)
    for view in everything.deployments:
        table.add_row(view.name, *_cells(view))
    out.print(table)
    for view in everything.deployments:
        _print_troubles(view)
        out.print(f"\n{view.name}: {'  '.join(view.urls)}", soft_wrap=True)
    return None


def weights(view: DeploymentView) -> str:
    """How traffic is split, in words."""
    return ", ".join(f"{revision} {share} %" for revision, share in view.weights.items())


def _cells(view: DeploymentView) -> tuple[str | Text, ...]:
    verdict = outcome(view.last_verdict.outcome) if view.last_verdict else "-"
    live, bento = (view.live.name, view.live.bento) if view.live else ("-", "-")
    return live, bento, weights(view) or "-", state(view), _replicas(view.replicas), verdict


def _replicas(replicas: list[ReplicaView]) -> str:
    ready = sum(replica.state == "ready" for replica in replicas)
    megabytes = sum(replica.memory_bytes for replica in replicas) // 1_000_000
    return f"{ready}/{len(replicas)} ready, {megabytes} MB"


def _print_troubles(view: DeploymentView) -> None:
    for replica in view.replicas:
        if replica.detail:
            out.print(f"\n{replica.revision}/{replica.index} is {replica.state}, {replica.restarts} restarts:")
            out.print(replica.detail, markup=False, style="red")
