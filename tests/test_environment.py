"""What libraries are told: the user's word stays, ours follows each run of a sweep."""

import os
import subprocess
import sys

from phi_runner import environment
from tests.config.configs import config_of

LIBRARIES = """
import sys
from types import ModuleType
for name in ("huggingface_hub.constants", "datasets.config"):
    sys.modules[name] = ModuleType(name)
    sys.modules[name].HF_HUB_OFFLINE = True
"""
TRIALS = """
import os
from phi_runner import environment
from tests.config.configs import config_of
for typed in sys.argv[1:]:
    environment.prepare(config_of(typed))
    told = [sys.modules[name].HF_HUB_OFFLINE for name in ("huggingface_hub.constants", "datasets.config")]
    print(os.environ.get("HF_HUB_OFFLINE"), *told)
"""
DEVICES = """
import os, sys
from phi_runner import environment
from phi_runner.errors import ConfigProblem
from tests.config.configs import config_of
for typed in sys.argv[1:]:
    if typed == "torch":
        sys.modules["torch"] = sys
        continue
    config = config_of(typed)
    try:
        environment.prepare(config)
        print(os.environ.get("CUDA_VISIBLE_DEVICES"), environment.cuda_number(getattr(config.compute, "device", 0)))
    except ConfigProblem as err:
        print(err)
"""
NANO, HUB = "model=phi3_nano", "model=phi3_mini_4k"


def told(program: str, *typed: str, **variables: str) -> list[str]:
    """Return what a fresh interpreter prints line by line; nothing of the hub or of CUDA is set in it."""
    ours = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE", "CUDA_VISIBLE_DEVICES")
    rest = {name: value for name, value in os.environ.items() if name not in ours}
    done = subprocess.run(
        [sys.executable, "-c", program, *typed], env=rest | variables, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_the_hub_follows_each_trial_of_a_sweep() -> None:
    off, on = "1 True True", "None False False"
    assert told(LIBRARIES + TRIALS, NANO, HUB, NANO, NANO, HUB) == [off, on, off, off, on]
    assert told(LIBRARIES + TRIALS, f"{HUB} model.path=/tmp", "model=local model.path=/tmp") == [off, off]


def test_what_the_user_says_of_the_hub_stays() -> None:
    assert told(LIBRARIES + TRIALS, NANO, HUB, HF_HUB_OFFLINE="0") == ["0 True True"] * 2
    assert told(LIBRARIES + TRIALS, NANO, HUB, HF_HUB_OFFLINE="true") == ["true True True"] * 2
    assert told(LIBRARIES + TRIALS, NANO, HUB, TRANSFORMERS_OFFLINE="1") == ["1 True True", "None True False"]


def test_the_switch_lies_where_the_real_library_looks() -> None:
    program = f"""
import sys
from phi_runner import environment
from tests.config.configs import config_of
environment.prepare(config_of({NANO!r}))
import huggingface_hub
print(huggingface_hub.is_offline_mode())
environment.prepare(config_of({HUB!r}))
print(huggingface_hub.is_offline_mode())
"""
    assert told(program) == ["True", "False"]


def test_a_run_on_the_gpu_sees_its_device_alone() -> None:
    assert told(DEVICES, "compute=cpu", "compute=gpu compute.device=1") == ["None 0", "1 0"]
    assert told(DEVICES, "compute=gpu", "torch", "compute=gpu", "compute=cpu") == ["0 0"] * 3
    assert told(DEVICES, "compute=gpu compute.device=1", CUDA_VISIBLE_DEVICES="2,3") == ["2,3 1"]
    assert told(DEVICES, "torch", "compute=gpu compute.device=1") == ["None 1"]


def test_a_process_that_sees_one_device_refuses_another() -> None:
    first, second = told(DEVICES, "compute=gpu", "torch", "compute=gpu compute.device=1")
    assert first == "0 0"
    assert second.startswith("compute.device=1: this process has begun with device 0 and sees no other: type one ")


def test_only_the_hub_needs_the_hub() -> None:
    assert not environment.needs_hub(config_of("data=sample model=local"))
    assert environment.needs_hub(config_of("data=ultrachat"))
