"""What Celery's consumer says, and what it does not."""

import warnings

import pytest
from celery.app.log import Logging
from celery.exceptions import CPendingDeprecationWarning

from core.jobs.states import JobKind
from core.settings import load_settings
from core.transport.courier import make_celery
from workers.celery_worker import consume


@pytest.fixture
def celery(monkeypatch, tmp_path):
    settings = load_settings({"REDIS_URL": "redis://127.0.0.1:1/0"}, tmp_path / "absent.toml")
    app = make_celery(settings)
    # Celery sets a process's logging up once; this process may have had a worker before.
    monkeypatch.setattr(Logging, "_setup", False)
    return app


def test_a_lost_connection_is_no_occasion_for_a_lesson_on_celerys_settings(celery, monkeypatch):
    heard = []

    def lose_the_connection(_worker):
        with warnings.catch_warnings():
            monkeypatch.setattr(warnings, "showwarning", lambda *args, **_: heard.append(args[0]))
            warnings.warn("In Celery 5.1 …", CPendingDeprecationWarning, stacklevel=1)
            warnings.warn("something else", RuntimeWarning, stacklevel=1)

    monkeypatch.setattr(celery.Worker, "start", lose_the_connection)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        consume(
            celery,
            JobKind.GENERATE,
            threads=1,
            acks_late=True,
            run=lambda _job_id: None,
            begin_drain=lambda: None,
        )
    assert [str(warning) for warning in heard] == ["something else"]
