import pytest


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """What a training run writes beside itself stays out of the repository."""
    monkeypatch.chdir(tmp_path)
