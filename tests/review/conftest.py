"""What reaches the functions is as in their tests."""

from tests.functions.conftest import *  # noqa: F403
from tests.functions.metered import ada

__all__ = ["ada"]
