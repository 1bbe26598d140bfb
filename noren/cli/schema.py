"""noren schema: the JSON Schema of deployment files."""

import json

import typer

from noren.manifests.deployment_file import DeploymentFile


def schema() -> None:
    """Print the JSON Schema of deploy/<name>.yaml, for editors.

    Save it and begin a file with `# yaml-language-server: $schema=<path>`.
    """
    typer.echo(json.dumps(DeploymentFile.model_json_schema(), indent=2))
