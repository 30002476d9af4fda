import pytest

from tests.containers.engine import Engine, find_engine


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Return the container engine of this machine, with both images built from this source tree."""
    engine = find_engine(tmp_path_factory.mktemp("engine"))
    if isinstance(engine, str):
        pytest.skip(engine)
    engine.build()
    return engine
