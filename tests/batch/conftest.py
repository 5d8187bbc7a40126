import pytest

from tests.batch import epochs


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the reports of :func:`tests.batch.epochs.entries`."""
    folder = tmp_path_factory.mktemp("batch")
    epochs.written(folder)
    return folder
