"""TensorBoard's own projector plugin, asked as its page asks it."""

import json

import numpy as np
import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin
from werkzeug.test import Client


class ProjectorServer:
    def __init__(self, logdir):
        multiplexer = EventMultiplexer().AddRunsFromDirectory(str(logdir))
        multiplexer.Reload()
        provider = MultiplexerDataProvider(multiplexer, str(logdir))
        self.apps = ProjectorPlugin(TBContext(logdir=str(logdir), data_provider=provider)).get_plugin_apps()

    def get(self, route, **query):
        answer = Client(self.apps[route]).get(query_string=query)
        assert answer.status_code == 200, answer.get_data(as_text=True)
        return answer.get_data()

    def runs(self):
        return json.loads(self.get("/runs"))

    def embeddings(self, run="."):
        return {entry["tensorName"]: entry for entry in json.loads(self.get("/info", run=run)).get("embeddings", [])}

    def tensor(self, name, run="."):
        shape = self.embeddings(run)[name]["tensorShape"]
        return np.frombuffer(self.get("/tensor", run=run, name=name), dtype="<f4").reshape(shape)

    def labels(self, name, run="."):
        return self.get("/metadata", run=run, name=name).decode().splitlines()


@pytest.fixture
def serve():
    return ProjectorServer
