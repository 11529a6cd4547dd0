"""Shows values where an assertion of the suite fails."""

import pytest

pytest.register_assert_rewrite("suite")
