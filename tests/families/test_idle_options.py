"""Options that would be accepted and have no effect are refused, in every family."""

from __future__ import annotations

import pytest

from apportion.pipeline.core.config import load_config
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.localizers._configured import Configured


@pytest.mark.parametrize(
    ("section", "name", "cure"),
    [
        ("advantages", "grpo", r"\[advantages.grpo\]"),
        ("importer", "messages", r"\[importer.messages\]"),
        ("team", "voting", r"\[team.voting\]"),
    ],
)
def test_options_beside_a_method_of_the_package_are_refused(section: str, name: str, cure: str):
    config = load_config(overrides=(f"{section}.options.x=1",))
    with pytest.raises(UserError, match=rf"{section}.options \(x\) are for .* no effect; .* {cure}"):
        getattr(config, section).make(name)


def test_options_beside_a_localizer_of_the_package_are_refused():
    config = load_config(overrides=("failures.options.margin=3",))
    with pytest.raises(UserError, match=r"failures.options \(margin\) .* \[failures.monte_carlo\]"):
        _ = Configured(config).localizer
    assert Configured(load_config()).localizer.needs
