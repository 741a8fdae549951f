"""Settings and layout, read by TensorBoard's own plugins."""

import json
import re

import pytest
import pytorch_lightning.loggers as pl_loggers
from pytorch_lightning.loggers.logger import DummyLogger
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.custom_scalar.custom_scalars_plugin import CustomScalarsPlugin
from tensorboard.plugins.hparams import backend_context, get_experiment, list_session_groups
from tensorboard.plugins.hparams.api_pb2 import (
    ORDER_ASC,
    ORDER_DESC,
    GetExperimentRequest,
    ListSessionGroupsRequest,
)

from lightning_invariant.tracking import announce, conclude, dashboard

SETTINGS = {"invariance/representation": "C4: 16 regular", "invariance/features": 128}
LAYOUT = dashboard(["knn"])


def logger(folder, **settings):
    return pl_loggers.TensorBoardLogger(folder, name="run", version=0, **settings)


def context(folder):
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    return TBContext(logdir=str(folder), data_provider=MultiplexerDataProvider(multiplexer, str(folder)))


def columns_and_sessions(folder):
    """The HParams page: columns and metrics, and of each run the values."""
    backend = backend_context.Context(context(folder))
    request, experiment_id = RequestContext(), ""
    metadata = backend.hparams_metadata(request, experiment_id)
    experiment = get_experiment.Handler(
        request, backend, experiment_id, GetExperimentRequest(include_metrics=True)
    ).run()
    asked = ListSessionGroupsRequest(slice_size=10, include_metrics=True)
    asked.allowed_statuses.extend([0, 1, 2, 3])
    groups = list_session_groups.Handler(request, backend, experiment_id, asked).run().session_groups
    names = {info.name for info in experiment.hparam_infos}
    metrics = {info.name.tag for info in experiment.metric_infos}
    sessions = {g.sessions[0].name: {k: v.string_value or v.number_value for k, v in g.hparams.items()} for g in groups}
    assert metadata
    return names, metrics, sessions


def sorted_by(folder, tag, order):
    """Runs of the HParams page and their value of a metric, in the order that a click on its column gives."""
    backend = backend_context.Context(context(folder))
    request, experiment_id = RequestContext(), ""
    backend.hparams_metadata(request, experiment_id)
    experiment = get_experiment.Handler(
        request, backend, experiment_id, GetExperimentRequest(include_metrics=True)
    ).run()
    asked = ListSessionGroupsRequest(slice_size=10, include_metrics=True)
    asked.allowed_statuses.extend([0, 1, 2, 3])
    column = asked.col_params.add(order=order)
    column.metric.tag = tag
    groups = list_session_groups.Handler(request, backend, experiment_id, asked).run().session_groups
    assert tag in {info.name.tag for info in experiment.metric_infos}
    return [
        (group.sessions[0].name, pytest.approx(value.value))
        for group in groups
        for value in group.metric_values
        if value.name.tag == tag
    ]


def test_runs_without_hyperparameters_are_sorted_by_their_last_numbers(tmp_path):
    for name, score in (("a", 0.5), ("b", 0.9), ("c", 0.7)):
        board = pl_loggers.TensorBoardLogger(tmp_path, name=name, version=0)
        assert announce(SETTINGS, LAYOUT, [board], None, hyperparameters=None, part="deep/") == ()
        assert conclude({"invariance/knn": score}, 7, [board], hyperparameters=None, part="deep/") == ()
    rising = [(f"{name}/version_0/invariantdeep%2F", value) for name, value in (("a", 0.5), ("c", 0.7), ("b", 0.9))]
    assert sorted_by(tmp_path, "invariance/knn", ORDER_ASC) == rising
    assert sorted_by(tmp_path, "invariance/knn", ORDER_DESC) == rising[::-1]


def test_last_numbers_stand_once_where_the_users_own_run_has_them(tmp_path):
    board = logger(tmp_path)
    announce(SETTINGS, LAYOUT, [board], None, hyperparameters={"lr": 1}, metrics=["invariance/knn"])
    board.log_metrics({"invariance/knn": 0.9}, 1)
    assert conclude({"invariance/knn": 0.9}, 1, [board], hyperparameters={"lr": 1}) == ()
    board.experiment.close()
    assert sorted_by(tmp_path, "invariance/knn", ORDER_ASC) == [("run/version_0", 0.9)]
    events = EventMultiplexer().AddRunsFromDirectory(str(tmp_path)).Reload()
    assert "scalars" not in events.Runs()["run/version_0/invariant"]


def test_a_folder_that_went_away_is_said_and_ends_nothing(tmp_path):
    (tmp_path / "run").write_text("in the way")
    (failure,) = conclude({"invariance/knn": 0.9}, 1, [logger(tmp_path), DummyLogger()], hyperparameters=None)
    assert failure.startswith("TensorBoardLogger, last numbers: ")


def test_settings_stand_beside_the_users_own(tmp_path):
    board = logger(tmp_path)
    own = {"lr": 0.1, "deep": {"size": 3}, "act": print}
    done = announce(SETTINGS, LAYOUT, [board], None, hyperparameters=own, metrics=["invariance/knn"])
    assert done == ()
    board.log_hyperparams(own)  # as Lightning does right after
    board.log_metrics({"invariance/knn": 0.9}, 1)
    board.experiment.close()
    names, metrics, sessions = columns_and_sessions(tmp_path)
    assert names == {*SETTINGS, "lr", "deep/size", "act"}
    assert {"hp_metric", "invariance/knn"} <= metrics
    assert sessions == {"run/version_0": {**SETTINGS, "lr": 0.1, "deep/size": 3, "act": str(print)}}
    assert board.hparams == own  # what hparams.yaml will hold


@pytest.mark.parametrize("settings", [{}, {"default_hp_metric": False}], ids=["none yet", "no hp_metric"])
def test_what_the_user_writes_later_decides(tmp_path, settings):
    board = logger(tmp_path, **settings)
    given = {"lr": 0.1} if settings else None
    assert announce(SETTINGS, LAYOUT, [board], None, hyperparameters=given) == ()
    assert conclude({"invariance/knn": 0.5}, 3, [board], hyperparameters=given) == ()
    before = columns_and_sessions(tmp_path)
    assert before[:2] == (set(SETTINGS), {"invariance/knn"})
    assert before[2] == {"run/version_0/invariant": SETTINGS}
    board.log_hyperparams({"lr": 0.1}, {"score": 1.0})
    board.experiment.close()
    names, metrics, sessions = columns_and_sessions(tmp_path)
    assert (names, metrics) == ({"lr"}, {"score"})
    assert sessions["run/version_0"] == {"lr": 0.1}


def test_the_layout_joins_the_users_own(tmp_path):
    board = logger(tmp_path)
    board.experiment.add_custom_scalars({"mine": {"loss": ["Multiline", ["loss"]]}})
    announce(SETTINGS, LAYOUT, [board], None, hyperparameters=None)
    announce(SETTINGS, dashboard(["linear"], "deep/"), [board], None, hyperparameters=None, part="deep/")
    board.experiment.close()
    plugin = CustomScalarsPlugin(context(tmp_path))
    layout = json.loads(plugin.layout_impl(RequestContext(), ""))
    charts = {category["title"]: category["chart"] for category in layout["category"]}
    assert set(charts) == {"mine", "invariance", "invariance deep"}
    gap = next(chart for chart in charts["invariance"] if "gap" in chart["title"])
    details = {side: f"invariance_details/knn_gap_{side}" for side in ("lower", "upper")}
    assert gap["margin"]["series"] == [{"value": "invariance/knn_gap", **details}]


def test_every_line_of_the_dashboard_is_logged():
    from lightning_invariant.evaluation import headlines, names

    probes = ["knn", "logistic", "linear"]
    first = headlines(probes)
    known = {f"{'invariance' if name in first else 'invariance_details'}/{name}" for name in names(probes)}
    charts = dashboard(probes)["invariance"].values()
    for kind, tags in charts:
        found = [[name for name in known if re.search(tag, name)] if kind == "Multiline" else [tag] for tag in tags]
        assert all(len(names) == 1 for names in found)
        assert {name for names in found for name in names} <= known


def test_without_a_logger_that_can_settings_are_a_file(tmp_path):
    csv = pl_loggers.CSVLogger(tmp_path / "csv")
    assert announce(SETTINGS, LAYOUT, [csv], tmp_path, hyperparameters=None) == ()
    assert json.loads((tmp_path / "invariant" / "settings.json").read_text()) == SETTINGS
    assert csv.experiment.hparams == {}  # hparams.yaml can be given to a module's constructor


def test_a_dummy_logger_keeps_nothing_and_a_broken_one_is_said(tmp_path):
    assert announce(SETTINGS, LAYOUT, [DummyLogger()], tmp_path, hyperparameters=None) == ()
    assert list(tmp_path.iterdir()) == []

    class Full(pl_loggers.TensorBoardLogger):
        @property
        def log_dir(self):
            raise OSError("disk full")

    (failure,) = announce(SETTINGS, LAYOUT, [Full(tmp_path)], tmp_path, hyperparameters=None)
    assert "disk full" in failure
    assert (tmp_path / "invariant" / "settings.json").is_file()
