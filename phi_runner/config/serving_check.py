"""Rules for what serves and talks: names, addresses, and the packages that an engine, a flow or the page needs."""

import ipaddress
import re
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import pairwise

from phi_runner.config.schema import (
    AgentFlow,
    ChatFlow,
    ChatUi,
    CpuCompute,
    DpoTrain,
    EngineName,
    ExportPrecision,
    LocalDeploy,
    NoDeploy,
    PlainFlow,
    PromptFlow,
    RunConfig,
    StageName,
)

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")
_WHOLE = 100
_HAS_PYTHON = {EngineName.vllm, EngineName.azureml}


def problems(config: RunConfig) -> Iterator[str]:
    """Yield what endpoint, flow and chat lack, installed packages included: found before hours of training."""
    if isinstance(config.deploy, LocalDeploy):
        yield from steps(config.deploy.shift)
        yield from _engine(config, config.deploy)
    if isinstance(config.flow, ChatFlow) and StageName.flow in config.stages:
        yield from _flow(config, config.flow)
    if StageName.chat in config.stages:
        yield from _chat(config)


def warnings(config: RunConfig) -> Iterator[str]:
    """Yield which addresses other machines can reach."""
    asked = [("deploy", config.deploy, StageName.deploy), ("flow", config.flow, StageName.flow)]
    asked.append(("chat", config.chat, StageName.chat))
    for name, group, stage in asked:
        host = getattr(group, "host", "")
        if host and not _is_loopback(host) and (stage in config.stages or name != "chat"):
            yield f"{name}.host={host} lets other machines in"


def names(config: RunConfig) -> Iterator[tuple[str, str]]:
    """Yield key and value of what must be a plain name."""
    if isinstance(config.deploy, LocalDeploy):
        yield "deploy.name", config.deploy.name
    if isinstance(config.flow, ChatFlow):
        yield "flow.name", config.flow.name
        yield "flow.connection", config.flow.connection


def steps(shift: list[int]) -> Iterator[str]:
    """Yield what is wrong with the shares of the traffic that a new deployment gets."""
    if not shift or shift[-1] != _WHOLE or shift[0] < 1 or any(now >= then for now, then in pairwise(shift)):
        yield f"deploy.shift={shift} must rise to 100: type deploy.shift=[10,50,100]"


def _engine(config: RunConfig, deploy: LocalDeploy) -> Iterator[str]:
    """Yield what the chosen engine lacks, and what is set that it does not read."""
    if deploy.precision is not ExportPrecision.fp32 and deploy.engine is not EngineName.onnx:
        yield f"deploy.precision={deploy.precision} is for an exported model: type deploy.engine=onnx"
    if deploy.vllm_options and deploy.engine is not EngineName.vllm:
        yield "deploy.vllm_options is read by vLLM alone: type deploy.engine=vllm"
    if deploy.python and deploy.engine not in _HAS_PYTHON:
        yield f"deploy.python is not read by deploy.engine={deploy.engine}: leave it out"
    if deploy.python and shutil.which(deploy.python) is None:
        yield f"deploy.python={deploy.python} is no program: type the path of an environment's bin/python"
    if StageName.deploy not in config.stages:
        return
    yield from _installed("deploy=local", "serve", "fastapi", "uvicorn", "aiohttp", "prometheus_client")
    if deploy.engine is EngineName.onnx:
        yield from _installed("deploy.engine=onnx", "onnx", "onnxruntime_genai")
        if not isinstance(config.compute, CpuCompute):
            yield f"deploy.engine=onnx answers on the processor and compute={config.compute.kind}: type compute=cpu"
    if deploy.engine is EngineName.vllm and isinstance(config.compute, CpuCompute):
        yield "deploy.engine=vllm needs a GPU and compute=cpu: type compute=gpu, or deploy.engine=transformers"


def _flow(config: RunConfig, flow: ChatFlow) -> Iterator[str]:
    if isinstance(flow, PlainFlow) and flow.serve:
        yield from _installed("flow.serve=true", "serve", "starlette", "uvicorn")
    if isinstance(flow, PromptFlow):
        yield from _installed(f"flow={flow.kind}", "flow", "promptflow")
        if flow.batch_rows and isinstance(config.train, DpoTrain):
            yield "flow.batch_rows asks held-out questions and train=dpo has pairs: type flow.batch_rows=0"
    if isinstance(flow, AgentFlow) and flow.python and shutil.which(flow.python) is None:
        yield f"flow.python={flow.python} is no program: type the path of an environment's bin/python"
    if not flow.question.strip():
        yield "flow.question is empty: type flow.question='Who founded Microsoft?'"
    if isinstance(config.deploy, NoDeploy):
        yield f"flow={flow.kind} needs an endpoint: type deploy=local, or flow=none to go without"


def _chat(config: RunConfig) -> Iterator[str]:
    if config.chat.ui is ChatUi.page:
        yield from _installed("chat.ui=page", "chat", "nicegui")
    elif config.chat.compare:
        yield "chat.compare=true shows two answers side by side: type chat.ui=page"
    if config.chat.compare and not isinstance(config.deploy, LocalDeploy):
        yield f"chat.compare=true serves the base model here and deploy={config.deploy.kind}: type deploy=local"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _installed(choice: str, extra: str, *packages: str) -> Iterator[str]:
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        yield f"{choice} needs {' and '.join(missing)}, not installed: type pip install 'phi-runner[{extra}]'"
