from core.settings import ENVIRONMENT_PREFIX, WELL_KNOWN_VARIABLES
from workers.bare_environment import bare_environment


def test_nothing_that_opens_a_door_is_handed_down():
    secrets = dict.fromkeys(
        [
            *WELL_KNOWN_VARIABLES,
            f"{ENVIRONMENT_PREFIX}DISCORD__TOKEN",
            f"{ENVIRONMENT_PREFIX}DATABASE__URL",
            "DATABASE_PASSWORD_FILE",
            "REDIS_PASSWORD_FILE",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "HF_TOKEN",
            "OTEL_EXPORTER_OTLP_HEADERS",
            "PGPASSWORD",
            "SSH_AUTH_SOCK",
        ],
        "hush",
    )
    assert bare_environment(secrets) == {}


def test_how_python_and_devices_are_set_up_is_handed_down():
    kept = {
        "PATH": "/bin",
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": "/x",
        "OMP_NUM_THREADS": "1",
        "HSA_OVERRIDE_GFX_VERSION": "10.3.0",
        "HIP_VISIBLE_DEVICES": "1",
        "CUDA_VISIBLE_DEVICES": "0",
        "HF_HUB_OFFLINE": "1",
    }
    assert bare_environment(kept) == kept
