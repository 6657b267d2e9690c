"""One vLLM engine, one model and one sampled and credited run, shared by the whole test session."""

from __future__ import annotations

import pytest
from hypothesis import settings
from roads import ROOT, Road, small_config

from apportion.pipeline.core.libraries import hush

hush(ROOT / "data")

# A slow or shared machine must not fail a test that is right.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def road(tmp_path_factory: pytest.TempPathFactory) -> Road:
    """The main road, run once: sample and annotate on a real model through the real flows."""
    from roads import annotate, sample

    from apportion.flows.common import light

    config = small_config(tmp_path_factory.mktemp("road"), "road", annotate__on="all")
    with light():
        run = sample(config)
        annotate(config, run)
    return Road(config, run)
