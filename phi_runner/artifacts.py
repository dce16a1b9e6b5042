"""What one stage hands to the next: a frozen dataclass each, stored as `artifact.json` in the result's folder.

`folder` is where the result lies now and is not stored; names inside it and inside the store are relative.
"""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

ARTIFACT_FILE = "artifact.json"
ANSWERS_FILE = "answers.jsonl"
MEASURED_FILE = "measured.json"
"""What a training took: machine, tokens, seconds, memory, settings; plans read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """An Azure workspace with everything that a run needs in it; every id is an ARM resource id."""

    folder: Path
    subscription: str
    resource_group: str
    region: str
    name: str
    resource: str
    storage: str
    registry: str
    identity: str
    identity_client_id: str
    identity_principal_id: str
    cluster: str
    """Name of the compute cluster; empty when no stage computes in Azure."""
    studio_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Chat rows in `messages` form: `train.arrow`, `test.arrow`, and the tutorials' `*_data.jsonl` beside them.

    With `format` preference they have the columns `prompt`, `chosen` and `rejected` too; `messages` is the prompt with
    the chosen answer.
    """

    folder: Path
    train_rows: int
    test_rows: int
    dropped_rows: int
    source: str
    format: str
    content_hash: str
    streamed: bool = False
    """True: the rows to learn from stay at their source, which `source.json` names; no `train` file, no train rows."""

    @property
    def train_file(self) -> Path:
        """Arrow stream of the rows to learn from."""
        return self.folder / "train.arrow"

    @property
    def test_file(self) -> Path:
        """Arrow stream of the held-out rows."""
        return self.folder / "test.arrow"

    @property
    def source_file(self) -> Path:
        """Where the rows of a streamed data set are read from, and how."""
        return self.folder / "source.json"

    @property
    def train_jsonl(self) -> Path:
        """The rows to learn from, one JSON object a line."""
        return self.folder / "train_data.jsonl"

    @property
    def test_jsonl(self) -> Path:
        """The held-out rows, one JSON object a line."""
        return self.folder / "test_data.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedModel:
    """Weights after training; `model` holds the full weights or, with `adapter`, the LoRA adapter."""

    folder: Path
    base: str
    """Where training started: a folder inside this result, a local path, or a hub id."""
    revision: str
    trust_remote_code: bool
    adapter: bool
    max_length: int
    """Longest row it was trained on, in tokens; it is measured at the same length."""
    parameters: int
    steps: int
    loss_first: float
    loss_last: float
    template_hash: str
    data_hash: str
    tracking_run: str
    job: str = ""
    """Azure job that trained it; empty: it was trained here."""
    job_output: str = ""
    """Named output of that job that holds the model in MLflow's form."""
    in_cloud: bool = False
    """True: the weights were left in the workspace and are not in this folder."""

    @property
    def model_folder(self) -> Path:
        """Safetensors, config, tokenizer, chat template and generation config."""
        return self.folder / "model"

    @property
    def base_location(self) -> str:
        """`base` as something that transformers can load."""
        inside = self.folder / self.base
        return str(inside) if self.base and inside.is_dir() else self.base


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorecard:
    """What the before/after card says, which lies in `card.json`; the answers lie in `answers.jsonl`."""

    folder: Path
    rows: int
    loss_before: float
    loss_after: float
    perplexity_before: float
    perplexity_after: float
    prompts: int
    exact_before: float | None
    """Share of prompts answered word for word as the data does; None where no row allows it."""
    exact_after: float | None
    preferred_before: float | None = None
    """Share of held-out pairs whose chosen answer is the likelier one; None where the rows are no pairs."""
    preferred_after: float | None = None
    decided_by: str = "loss"
    """The figure of the card that decides: `loss`, or `preferred` after preference training."""
    verdict: str = ""
    """What the card says of it: better, worse, no change, or too few rows to tell."""
    words: str = ""
    """The same with its figures, in a sentence."""
    difference: float | None = None
    """Of the figure that decides; None where it is no number."""
    difference_low: float | None = None
    difference_high: float | None = None
    worse: str = ""
    """Names of the figures that got worse, joined by commas."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A version in the model registry, and the plain Hugging Face folder that it was made from."""

    folder: Path
    name: str
    version: str
    alias: str
    tracking_uri: str
    source: str
    """Folder of the merged weights, relative to the store (`train/<key>/model` or `register/<key>/merged`)."""
    template_hash: str
    asset: str = ""
    """Resource id of the model version in an Azure workspace; empty: it is in the MLflow registry."""

    @property
    def model_folder(self) -> Path:
        """Merged weights, config, tokenizer, template and generation config; loads with plain transformers."""
        return self.folder.parents[1] / self.source

    @property
    def answers_file(self) -> Path | None:
        """What the model answered to held-out prompts when it was evaluated; None: nobody has asked it."""
        file = self.folder / ANSWERS_FILE
        return file if file.is_file() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A process that answers `/score` and `/v1/chat/completions`."""

    folder: Path
    name: str
    url: str
    key_file: str
    """File that holds the key, mode 0600; the key itself is never stored in a result."""
    pid: int
    """Of the gateway in front of the deployment; 0 in Azure."""
    model: str
    """Registered name and version, `name/version`."""
    template_hash: str
    detached: bool
    resource: str = ""
    """Resource id of an Azure endpoint; its key is asked of Azure when it is needed. Empty: a process here."""
    deployment: str = ""
    """Name of the deployment that has the traffic: `blue` or `green`."""
    chat_form: bool = True
    """False: only the code-first tutorial's request form is answered, a list of texts."""

    @property
    def score_url(self) -> str:
        """Where the tutorials' two request bodies go."""
        return f"{self.url}/score"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A flow folder that answered once, and the page that serves it."""

    folder: Path
    flow_folder: str
    question: str
    answer: str
    url: str
    """Page and API of the served flow; empty when it is not being served."""
    pid: int


Artifact = Workspace | Dataset | TrainedModel | Scorecard | Registered | Endpoint | Flow
_Kind = TypeVar("_Kind", bound=Artifact)


def save(artifact: Artifact) -> None:
    """Write the artifact's fields, less its folder, into its folder."""
    values = {name: value for name, value in asdict(artifact).items() if name != "folder"}
    text = json.dumps(values, indent=2, ensure_ascii=False)
    (artifact.folder / ARTIFACT_FILE).write_text(text + "\n", encoding="utf-8")


def read(kind: type[_Kind], *, folder: Path) -> _Kind | None:
    """Read back what `save` wrote, or return None when another version of this program wrote it otherwise."""
    try:
        return load(kind, folder=folder)
    except (OSError, ValueError, TypeError):
        return None


def load(kind: type[_Kind], *, folder: Path) -> _Kind:
    """Read back what `save` wrote; raises OSError, ValueError or TypeError when the file is not that artifact's."""
    values: dict[str, Any] = json.loads((folder / ARTIFACT_FILE).read_text(encoding="utf-8"))
    known = {item.name for item in fields(kind)} - {"folder"}
    if set(values) != known:
        raise ValueError(f"{folder / ARTIFACT_FILE} does not hold a {kind.__name__}")
    return kind(folder=folder, **values)
