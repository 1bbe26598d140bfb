"""noren revisions: what was ever declared."""

from rich.table import Table

from noren.cli.console import AsJson, OptionalName, client, only_name, out, print_json


def revisions(name: OptionalName = None, as_json: AsJson = False) -> None:
    """List every revision of a deployment; `noren rollback --to N` goes to one of them."""
    control = client()
    name = only_name(name, control)
    found = control.revisions(name)
    if as_json:
        return print_json(found)
    view = control.deployment(name)
    table = Table("revision", "bento", "server", "replicas", "workers", "promoted", "traffic", box=None)
    for revision in found:
        share = view.weights.get(revision.name)
        traffic = f"{share} %" if share else ""
        promoted = "yes" if revision.promoted else ""
        copies = str(revision.replicas), str(revision.workers)
        table.add_row(revision.name, revision.bento, revision.server.value, *copies, promoted, traffic)
    out.print(table)
    return None
