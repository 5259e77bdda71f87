"""The fixtures of the functions' tests."""

from tests.functions.conftest import *  # noqa: F403
