from tests.end_to_end.conftest import fleet as fleet
