"""What the fine-tuning worker does beside its jobs."""

import time

from core.ids import new_id
from core.settings import Settings
from workers.finetuning import tasks


def test_a_worker_that_starts_sweeps_what_others_left(tmp_path, engine, monkeypatch):
    left = tmp_path / "runs" / new_id()
    left.mkdir(parents=True)

    def consume_until_swept(*_, **__) -> None:
        deadline = time.monotonic() + 90
        while left.exists() and time.monotonic() < deadline:
            time.sleep(0.01)

    monkeypatch.setattr(tasks, "consume", consume_until_swept)
    url = engine.url.render_as_string(hide_password=False)
    settings = Settings(
        data_dir=tmp_path,
        database={"url": url},
        redis={"url": "redis://127.0.0.1:1/0"},
    )
    tasks.run_finetuning_worker(settings)
    assert not left.exists()
