"""What reaches the functions is as in their tests."""

from tests.functions.conftest import buy, drain, hear, schedules, sell, swept, use
from tests.functions.metered import ada

__all__ = ["ada", "buy", "drain", "hear", "schedules", "sell", "swept", "use"]
