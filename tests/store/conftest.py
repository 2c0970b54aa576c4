"""The store on both databases."""

import pytest
from sqlalchemy import Engine

from tests.shop import Shop


@pytest.fixture
def shop(engine: Engine) -> Shop:
    """The store on a database of a test's own."""
    return Shop(engine)
