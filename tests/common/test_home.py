"""A home directory that is not known."""

from pathlib import Path

import pytest

from graspfleet.common.errors import ConfigError
from graspfleet.common.runtime.datasets import dataset_folder
from graspfleet.common.runtime.files import expand_home
from graspfleet.common.settings.config import EnvConfig


def test_a_home_directory_that_is_not_known_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("MINARI_DATASETS_PATH", raising=False)

    def nobody(number: int) -> None:
        raise KeyError(number)

    monkeypatch.setattr("pwd.getpwuid", nobody)
    assert expand_home("no/tilde") == Path("no/tilde")
    for words in (lambda: EnvConfig(env="~/my.py:Mine-v0"), lambda: dataset_folder("cube")):
        with pytest.raises(ConfigError, match=r"\A~[^\n]*HOME[^\n]*\Z"):
            words()
