import pytest

# Their assertions say what differs, as those of tests do.
pytest.register_assert_rewrite("tests.core.jobs.ledger_machine", "tests.core.jobs.ledger_model")
