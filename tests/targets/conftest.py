"""Shows values where an assertion of a suite fails."""

import pytest

pytest.register_assert_rewrite("suite", "event_suite")
