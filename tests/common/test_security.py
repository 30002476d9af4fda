"""Plaintext stays on this machine unless someone says otherwise."""

import logging

import pytest

from graspfleet.common.errors import ConfigError
from graspfleet.common.net.security import is_loopback, require_private
from tests.fakes import ONE_LINE

HERE = ["127.0.0.1", "127.1.2.3", "::1", "localhost"]
ELSEWHERE = [
    "0.0.0.0",
    "::",
    "*",
    "10.0.0.1",
    "192.168.1.2",
    "8.8.8.8",
    "learner",
    "localhost.evil.com",
    "127.0.0.1.evil",
    "",
]


@pytest.mark.parametrize("host", HERE)
def test_loopback_is_free(host: str, caplog: pytest.LogCaptureFixture) -> None:
    assert is_loopback(host)
    require_private("--bind", host, insecure=False)
    assert not caplog.records


@pytest.mark.parametrize("host", ELSEWHERE)
def test_anything_else_is_refused_in_one_line(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(ConfigError, match=ONE_LINE) as caught:
        require_private("--bind", host, insecure=False)
    assert f"--bind {host}" in str(caught.value)
    assert "--insecure" in str(caught.value)


@pytest.mark.parametrize("host", ELSEWHERE)
def test_consent_is_logged_as_a_warning(host: str, caplog: pytest.LogCaptureFixture) -> None:
    require_private("--bind", host, insecure=True)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert host in caplog.text


def test_the_way_out_is_named() -> None:
    with pytest.raises(ConfigError, match=r"graspfleet keys init DIR.*--keys DIR"):
        require_private("--bind", "10.0.0.1", insecure=False)
