"""What the tests of the training scripts share."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def one_mlflow_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One for all trainings, because MLflow takes seconds to create it. Tests that want their own say so."""
    folder = tmp_path_factory.getbasetemp() / "mlflow"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        yield
