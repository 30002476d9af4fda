"""What is in the images, how large they are, and that they run without rights."""

import time

import pytest

from tests.containers.engine import Engine
from tests.deploy.walkthrough import ROOT

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1800)]
HARDENED = "--rm --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges --network none"
ACTOR_LIMIT_BYTES = 700e6
REBUILD_LIMIT_S = 60.0


def size(engine: Engine, image: str) -> int:
    return int(engine.inspect(image, "{{.Size}}"))


def test_the_images_are_as_small_as_promised(engine: Engine) -> None:
    base = size(engine, engine.base_image)
    actor, learner = (size(engine, name) - base for name in ("graspfleet-actor", "graspfleet-learner"))
    print(
        f"above a base of {base / 1e6:,.0f} MB: actor {actor / 1e6:,.0f} MB, learner {learner / 1e6:,.0f} MB"
    )
    assert actor <= ACTOR_LIMIT_BYTES


def test_an_actor_has_no_torch_and_no_learner(engine: Engine) -> None:
    absent = ("torch", "graspfleet.learner", "actor", "common", "tensorboard")
    code = f"import importlib.util as i; assert not any(map(i.find_spec, {absent}))"
    engine.run(f'docker run {HARDENED} --entrypoint python3 graspfleet-actor -c "{code}"')


@pytest.mark.parametrize("image", ["graspfleet-actor", "graspfleet-learner"])
def test_it_runs_without_root_on_a_read_only_filesystem(engine: Engine, image: str) -> None:
    assert engine.run(f"docker run {HARDENED} --entrypoint id {image} -u").strip() == "10001"
    with pytest.raises(AssertionError, match="Read-only file system"):
        engine.run(f"docker run {HARDENED} --entrypoint touch {image} /app/new")
    assert "usage: graspfleet" in engine.run(f"docker run {HARDENED} {image} --help")


def test_a_mistake_in_a_container_is_one_line_and_status_2(engine: Engine) -> None:
    with pytest.raises(AssertionError, match="\nstatus 2\n") as caught:
        engine.run(f"docker run {HARDENED} graspfleet-actor actor --max-batch-transitions 0")
    assert "\nerror: --max-batch-transitions 0" in str(caught.value)


def test_a_changed_line_of_code_rebuilds_in_seconds(engine: Engine) -> None:
    changed = ROOT / "common" / "_changed.py"
    try:
        engine.build()
        changed.write_text(f'"""{time.time()}."""\n')
        before_s = time.monotonic()
        engine.build()
        took_s = time.monotonic() - before_s
    finally:
        changed.unlink(missing_ok=True)
        engine.build()
    print(f"both images again after a change: {took_s:.1f} s")
    assert took_s < REBUILD_LIMIT_S
