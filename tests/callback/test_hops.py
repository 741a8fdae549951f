"""A newcomer reads few files of the callback to follow a validation batch, a report or an export."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import lightning_invariant
from lightning_invariant import InvariantCallback
from tests.callback.loops import REPRESENTATION, fit

PACKAGE = f"{Path(lightning_invariant.__file__).parent}/"
ROOM = "callback/"
BATCH, REPORT, EXPORT = 8, 20, 20
"""Most files of the callback that may be passed; other rooms stand behind one call each and are not counted."""


class Passed:
    """Files of the callback whose functions ran."""

    def __init__(self) -> None:
        self.files: set[str] = set()

    def during(self, call: Callable[..., None], *arguments) -> None:
        before = sys.getprofile()
        sys.setprofile(self._note)
        try:
            call(*arguments)
        finally:
            sys.setprofile(before)

    def _note(self, frame, event, _) -> None:
        name = _inside(frame)
        if event == "call" and name.startswith(ROOM) and frame.f_code.co_name != "<module>":
            self.files.add(name)


def _inside(frame) -> str:
    """The file of a frame within the package; "" for others."""
    name = frame.f_code.co_filename
    return name.removeprefix(PACKAGE) if name.startswith(PACKAGE) else ""


class Counted(InvariantCallback):
    """Notes what its last validation batch, its last report and its export pass."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.batch, self.reported, self.exported = Passed(), Passed(), Passed()

    def on_validation_batch_start(self, *args):
        self.batch = Passed()
        self.batch.during(super().on_validation_batch_start, *args)
        sys.setprofile(self.batch._note)  # the user's own step, in which calls are recorded

    def on_validation_batch_end(self, *args):
        sys.setprofile(None)
        self.batch.during(super().on_validation_batch_end, *args)

    def on_validation_epoch_end(self, *args):
        self.reported = Passed()
        self.reported.during(super().on_validation_epoch_end, *args)

    def on_fit_end(self, *args):
        self.exported.during(super().on_fit_end, *args)


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hops")
    seen = Counted("encoder", REPRESENTATION, max_overhead=None, export=folder / "out")
    fit([seen], folder, max_epochs=1)
    assert (folder / "out" / "model.safetensors").exists()
    return seen


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("part", "most"), [("batch", BATCH), ("reported", REPORT), ("exported", EXPORT)])
def test_few_files_are_passed(counted, part, most):
    files = sorted(getattr(counted, part).files)
    assert {"callback/callback.py"} < set(files)
    assert len(files) <= most, f"{len(files)}: {', '.join(files)}"


def test_a_file_that_is_passed_is_counted():
    passed = Passed()
    passed.during(lambda: InvariantCallback("encoder", REPRESENTATION))
    assert {"callback/callback.py", "callback/arguments.py"} < passed.files
    assert sys.getprofile() is None
