"""Success: read under the key that is named, never guessed, and a likelier key pointed at once."""

from typing import Any

import numpy as np
import pytest

from graspfleet.actor.success import SuccessReader


@pytest.mark.parametrize(
    ("said", "success"),
    [
        (True, True),
        (np.bool_(False), False),
        (1, True),
        (0.0, False),
        (np.float32(1), True),
        (np.array(True), True),
    ],
)
def test_yes_and_no_are_read(said: Any, success: bool, caplog: pytest.LogCaptureFixture) -> None:
    assert SuccessReader("is_success")({"is_success": said}) is success
    assert not caplog.text


@pytest.mark.parametrize(
    "said",
    [np.nan, 0.5, 2, "yes", "", np.array([True]), [True], {}, np.zeros(0), object()],
    ids=lambda said: type(said).__name__,
)
def test_what_is_neither_yes_nor_no_is_unknown_and_said_once(
    said: Any, caplog: pytest.LogCaptureFixture
) -> None:
    read = SuccessReader("done_well")
    assert [read({"done_well": said}) for _ in range(3)] == [None, None, None]
    assert len(caplog.messages) == 1
    assert "info['done_well']" in caplog.text


def test_nothing_said_is_unknown(caplog: pytest.LogCaptureFixture) -> None:
    read = SuccessReader("is_success")
    assert [read({}), read({"is_success": None}), read({"other": 1})] == [None, None, None]
    assert not caplog.text


@pytest.mark.parametrize("key", ["success", "task_success"])
def test_a_likely_key_is_pointed_at_once(key: str, caplog: pytest.LogCaptureFixture) -> None:
    read = SuccessReader("is_success")
    assert [read({key: 1.0}) for _ in range(3)] == [None, None, None]
    assert [f"--success-key {key}" in message for message in caplog.messages] == [True]
    assert SuccessReader(key)({key: 1.0}) is True
