import json
import logging
import threading
import warnings

import structlog

from core.logging import configure_logging
from core.settings import LogSettings

# Made at run time, so that no source line in a traceback holds it.
SAID = " ".join(["what", "a", "member", "said"])


def fail(words):
    raise ValueError("too odd")


def log_a_failure(name):
    log = structlog.get_logger(name)
    with structlog.contextvars.bound_contextvars(job_id="j1"):
        try:
            fail(SAID)
        except ValueError:
            log.exception("job_failed", attempt=2)


def test_json_lines_carry_process_job_and_traceback_but_no_local_variables(capsys):
    configure_logging(LogSettings(format="json"), process="generate")
    log_a_failure("json")
    line = capsys.readouterr().err
    entry = json.loads(line)
    assert (entry["event"], entry["process"], entry["job_id"]) == ("job_failed", "generate", "j1")
    assert (entry["level"], entry["attempt"]) == ("error", 2)
    assert entry["exception"][0]["exc_type"] == "ValueError"
    assert SAID not in line


def test_warnings_of_python_are_lines_like_all_others(capsys):
    configure_logging(LogSettings(format="json"), process="upkeep")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.warn("old ways", DeprecationWarning, stacklevel=1)
    assert "old ways" in json.loads(capsys.readouterr().err)["event"]


def test_lines_of_other_threads_name_the_process_too(capsys):
    configure_logging(LogSettings(format="json"), process="upkeep")
    thread = threading.Thread(target=lambda: logging.getLogger("theirs").warning("slow"))
    thread.start()
    thread.join()
    assert json.loads(capsys.readouterr().err)["process"] == "upkeep"


def test_console_lines_show_the_same_and_no_local_variables(capsys):
    configure_logging(LogSettings(format="console"), process="bot")
    log_a_failure("console")
    lines = capsys.readouterr().err
    assert "job_failed" in lines
    assert "j1" in lines
    assert "ValueError: too odd" in lines
    assert SAID not in lines


def test_libraries_are_heard_from_warnings_upwards_and_ours_from_the_chosen_level(capsys):
    configure_logging(LogSettings(level="info"), process="bot")
    logging.getLogger("discord.gateway").info("connected")
    logging.getLogger("discord.gateway").warning("slow heartbeat")
    structlog.get_logger("ours").info("ready")
    structlog.get_logger("ours").debug("detail")
    lines = capsys.readouterr().err
    assert "slow heartbeat" in lines
    assert "ready" in lines
    assert "connected" not in lines
    assert "detail" not in lines
