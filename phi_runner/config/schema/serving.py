"""Where the model answers and how people reach it."""

from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import ClassVar


@dataclass(kw_only=True, slots=True)
class DeployConfig:
    """Where the model answers."""

    kind: ClassVar[str] = ""


@dataclass(kw_only=True, slots=True)
class NoDeploy(DeployConfig):
    """No endpoint."""

    kind: ClassVar[str] = "none"


class EngineName(StrEnum):
    """What turns a prompt into an answer on this machine; every one stands behind the same HTTP contract."""

    transformers = auto()
    """The model in torch, many answers at a time in one batch."""
    onnx = auto()
    """onnxruntime-genai on a file exported from the registered model: the fastest for one person on a processor."""
    vllm = auto()
    """A vLLM server of its own on a GPU."""
    azureml = auto()
    """Azure's inference server with the scoring code that the cloud runs, in an environment of its own."""


class ExportPrecision(StrEnum):
    """What the weights of an exported model are kept in."""

    fp32 = auto()
    int4 = auto()
    """Blocks of 4 bits: smaller and faster, and other answers."""


@dataclass(kw_only=True, slots=True)
class LocalDeploy(DeployConfig):
    """An endpoint on this machine; a new deployment takes over only after it has proved itself."""

    kind: ClassVar[str] = "local"
    name: str = "phi-endpoint"
    """Name of the endpoint; one per name."""
    host: str = "127.0.0.1"
    """Address that it listens on; another than this machine's own lets other machines in, with the key."""
    port: int = 0
    """0: any free port, told in the log and in the result."""
    detach: bool = False
    """Keep serving after the run has ended, until the `teardown` stage."""
    engine: EngineName = EngineName.transformers
    """transformers, onnx, vllm or azureml."""
    precision: ExportPrecision = ExportPrecision.fp32
    """fp32 or int4, for `deploy.engine=onnx`."""
    python: str = ""
    """Interpreter of the environment that vllm or azureml runs in; empty: this one for vllm, one made for azureml."""
    vllm_options: list[str] = field(default_factory=list)
    """More words for `vllm serve`, as typed there."""
    max_concurrent: int | None = None
    """Requests answered at a time; null: what the engine serves best."""
    max_queue: int = 64
    """Requests that may wait for a slot; the next one is told to come again (429)."""
    request_timeout_s: float = 180.0
    """Longest time an answer may take (the tutorials' 180000 ms)."""
    max_queue_wait_s: float = 120.0
    """Longest wait for a free slot (the tutorials' 120000 ms)."""
    max_body_bytes: int = 1024 * 1024
    """Longest request body."""
    body_timeout_s: float = 30.0
    """Longest time in which a body may arrive."""
    start_timeout_s: float = 180.0
    """How long the process may take until it is ready."""
    max_new_tokens: int = 128
    """Answer length when the request names none (the tutorials' value)."""
    shift: list[int] = field(default_factory=lambda: [10, 50, 100])
    """Percentages of the traffic that a new deployment gets one after the other; the first one ever gets all."""
    step_s: float = 2.0
    """How long each step but the last is watched."""
    bake_s: float = 5.0
    """How long the new deployment is watched at 100 % before the old one is stopped."""
    quality_prompts: int = 8
    """Held-out prompts that a new deployment must answer as the evaluated model did; 0: none."""
    quality_floor: float = 0.75
    """Share of them that must come out as they did."""
    rollback: bool = False
    """Bring back the deployment that served before this one, instead of the newest model."""


class Serving(StrEnum):
    """What answers inside an Azure deployment."""

    code = auto()
    """Our scoring code in the inference server: both tutorials' request forms."""
    mlflow = auto()
    """The tutorials' no-code MLflow image: the code-first tutorial's form only."""


@dataclass(kw_only=True, slots=True)
class AzureDeploy(DeployConfig):
    """A managed online endpoint; a new deployment takes over only after it has proved itself."""

    kind: ClassVar[str] = "azure"
    name: str = ""
    """Endpoint, unique in its region; empty: derived from subscription and workspace."""
    serving: Serving = Serving.code
    """`code` answers both tutorials' request forms, `mlflow` is the no-code image and answers the first one."""
    instance_type: str = "Standard_E4s_v3"
    """Size of an instance (the code-first tutorial's, which needs no GPU quota)."""
    instances: int = 1
    """How many machines answer (the tutorials' 1)."""
    image: str = "mcr.microsoft.com/azureml/minimal-py312-inference:latest"
    """Docker image below our scoring code's conda environment; the no-code image is Azure's choice."""
    max_concurrent: int = 3
    """Requests answered at a time by one instance (the tutorials')."""
    request_timeout_s: float = 180.0
    """Longest time an answer may take (the tutorials' 180000 ms)."""
    max_queue_wait_s: float = 120.0
    """Longest wait for a free slot (the tutorials' 120000 ms)."""
    probe_initial_delay_s: int = 500
    """Time before the first liveness and readiness probe (the tutorials' values, here and below)."""
    probe_period_s: int = 100
    """Time between two probes."""
    probe_failure_threshold: int = 30
    """Failed probes after which the container is given up."""
    probe_success_threshold: int = 1
    """Passed probes after which it counts as well."""
    shift: list[int] = field(default_factory=lambda: [10, 50, 100])
    """Percentages of the traffic that the new deployment gets one after the other; the first one ever gets all."""
    step_s: float = 10.0
    """How long each step but the last is watched."""
    bake_s: float = 60.0
    """How long the new deployment is watched at 100 % before the old one is removed."""
    max_new_tokens: int = 128
    """Answer length when the request names none (the tutorials' value)."""
    quality_prompts: int = 4
    """Held-out prompts that a new deployment must answer as the evaluated model did; 0: none."""
    quality_floor: float = 0.75
    """Share of them that must come out as they did."""
    rollback: bool = False
    """Bring back the model version that served before this one, instead of the newest."""


@dataclass(kw_only=True, slots=True)
class FlowConfig:
    """The chat application in front of the endpoint."""

    kind: ClassVar[str] = ""


@dataclass(kw_only=True, slots=True)
class NoFlow(FlowConfig):
    """No flow."""

    kind: ClassVar[str] = "none"


@dataclass(kw_only=True, slots=True)
class ChatFlow(FlowConfig):
    """A chat flow in front of the endpoint, whatever runs it."""

    name: str = "chat-with-phi"
    """Of the folder below `outputs/flows`, and of the served flow."""
    question: str = "Who founded Microsoft?"
    """Asked when the flow is tested (the tutorials' default input)."""
    serve: bool = False
    """Leave the flow's API running."""
    host: str = "127.0.0.1"
    """Address of that API; another than this machine's own lets others in without a key."""
    port: int = 8080
    """The tutorials' port; 0: any free one."""
    connection: str = "phi-endpoint"
    """Name of the connection that holds the endpoint's address and key, and prefix of the variables of a plain flow."""


@dataclass(kw_only=True, slots=True)
class PlainFlow(ChatFlow):
    """The flow as plain Python, served by us: nothing to install, nothing that retires."""

    kind: ClassVar[str] = "plain"


@dataclass(kw_only=True, slots=True)
class AgentFlow(ChatFlow):
    """The flow as a Microsoft Agent Framework agent, in an environment of its own."""

    kind: ClassVar[str] = "agent_framework"
    python: str = ""
    """Interpreter of an environment with agent-framework; empty: one is made below `outputs`."""


@dataclass(kw_only=True, slots=True)
class PromptFlow(ChatFlow):
    """A Microsoft Prompt flow DAG (retired by Microsoft on 2027-04-20)."""

    kind: ClassVar[str] = "promptflow"
    batch_rows: int = 0
    """Held-out rows that a batch run asks, with an evaluation flow behind it; 0: no batch run."""


@dataclass(kw_only=True, slots=True)
class FoundryFlow(PromptFlow):
    """The same flow, with hub, project and connection made in Azure AI Foundry and used by it."""

    kind: ClassVar[str] = "foundry"
    ai_services: str = ""
    """Resource id of an existing AI Services account to connect to the hub; empty: none."""


class ChatUi(StrEnum):
    """Where a person talks to the model."""

    page = auto()
    terminal = auto()


@dataclass(kw_only=True, slots=True)
class ChatConfig:
    """How a person talks to the model."""

    ui: ChatUi = ChatUi.page
    """page or terminal."""
    compare: bool = False
    """Show the base model's answer beside the tuned one's."""
    feedback_file: str = ""
    """Where thumbs up and down are written as rows to train on; empty: `feedback/<endpoint>.jsonl` below outputs."""
    host: str = "127.0.0.1"
    """Address of the page; another than this machine's own lets others in without a key."""
    port: int = 0
    """Of the page; 0: any free one."""
    open_browser: bool = True
    """Open the page where there is a display."""
    max_new_tokens: int = 128
    """Longest answer that is asked for, in tokens."""
    temperature: float = 0.0
    """0: always the likeliest token."""
