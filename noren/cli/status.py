"""noren status: what is there now."""

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from noren.api.schemas import DeploymentView, ReplicaView
from noren.cli.console import AsJson, OptionalName, client, out, outcome, print_json, state
from noren.cli.verdict import evidence


def status(name: OptionalName = None, as_json: AsJson = False) -> None:
    """Show deployments: live revision and Bento, traffic, rollout, replicas, last verdict."""
    control = client()
    everything = control.status()
    if name:
        everything = everything.model_copy(update={"deployments": [control.deployment(name)]})
    if as_json:
        return print_json(everything)
    if not everything.leads:
        out.print(_led(everything.leader), style="yellow", markup=False)
    if not everything.deployments:
        out.print("no deployments yet: `noren apply deploy/<name>.yaml` makes one")
    for view in everything.deployments:
        table = Table(box=None, show_header=False, title=view.name, title_justify="left", title_style="bold")
        for label, value in _lines(view):
            table.add_row(f"  {label}", value)
        out.print(table)
    return None


def weights(view: DeploymentView) -> str:
    """How traffic is split, in words."""
    return ", ".join(f"{revision} {share} %" for revision, share in view.weights.items())


def _led(leader: str) -> str:
    if not leader:
        return "no control plane leads now: nothing is decided until one does, in seconds"
    return f"led by {leader}: it acts and knows of trouble, this control plane takes commands for it"


def _lines(view: DeploymentView) -> Iterator[tuple[str, Text]]:
    yield "live", Text(f"{view.live.name}  {view.live.bento}" if view.live else "nothing yet")
    yield "traffic", Text(weights(view) or "none")
    yield "rollout", Text(state(view))
    if view.rollout and view.rollout.active and view.rollout.emergency:
        yield "emergency", Text("nothing is compared with blue: `noren history` says why", style="red")
    if view.queued:
        yield "queued", Text(view.queued)
    for replica in view.replicas:
        yield "replica", _replica(replica)
    if verdict := view.last_verdict:
        yield "verdict", Text.assemble(outcome(verdict.outcome), f" {verdict.revision}: {verdict.reason}")
        if verdict.evidence:
            yield "", Text(evidence(verdict))
    if view.trouble:
        yield "trouble", Text(view.trouble, style="red")
    yield "guests", Text("  ".join(view.urls))


def _replica(replica: ReplicaView) -> Text:
    facts = [f"{replica.revision}/{replica.index} {replica.state}", replica.address]
    facts += [f"pid {replica.pid}"] if replica.pid else []
    facts += [f"{replica.memory_bytes // 1_000_000} MB"] if replica.memory_bytes else []
    facts += [f"{replica.restarts} restarts"] if replica.restarts else []
    trouble = f"\n{replica.detail}" if replica.detail else ""
    return Text.assemble("  ".join(fact for fact in facts if fact), (trouble, "red"))
