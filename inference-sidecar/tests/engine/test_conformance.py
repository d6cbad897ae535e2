"""The conformance suite of all engines, run on this one over tiny weights."""

from __future__ import annotations

import pytest

# pytest finds the imported tests here by their names and passes them the engine below.
from conformance.test_engines import *  # noqa: F403
from inference_sidecar.engines.engine import Engine
from inference_sidecar.engines.infinitetalk.engine import InfiniteTalkEngine
from inference_sidecar.engines.infinitetalk.loading.loaded_model import LoadedModel
from stage.tiny_engine import tiny_settings


@pytest.fixture(scope="module")
def engine(tiny_model: LoadedModel) -> Engine:
    loaded = InfiniteTalkEngine(tiny_settings(), lambda *_: tiny_model)
    readiness = loaded.load()
    assert readiness.device
    assert readiness.seconds_per_video_second > 0
    return loaded
