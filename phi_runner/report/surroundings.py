"""What stands around the results of a run: its data, its flow, versions and machine, and the files it left."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup

from phi_runner.pages import pieces
from phi_runner.pages.frame import Section
from phi_runner.pages.pieces import Tone
from phi_runner.report.run_folder import RunFolder, number, rows, table, text

_MATTER = (
    "torch", "transformers", "trl", "peft", "accelerate", "tokenizers", "datasets", "pyarrow", "safetensors", "numpy",
    "mlflow", "hydra-core", "omegaconf", "onnxruntime", "fastapi", "uvicorn", "promptflow", "azure-ai-ml",
)  # fmt: skip
"""Libraries whose version people ask for first; the others are folded away."""
_FILES = (
    ("run.log", "what happened, line by line"),
    ("run.json", "the same for machines"),
    ("config.yaml", "every setting, resolved"),
    ("versions.json", "with what it was made"),
    ("plan.json", "what was expected of it"),
    ("data_check.html", "the data check"),
    ("data_check.json", "the same for machines"),
    ("compare.html", "runs side by side"),
    ("reproduced.json", "what came out the same"),
    ("libraries.log", "what libraries said"),
    ("traceback.txt", "the failure, for developers"),
    ("results/data/train_data.jsonl", "rows to learn from"),
    ("results/data/test_data.jsonl", "held-out rows"),
    ("results/train/model", "the trained weights or adapter"),
    ("results/train/loss.png", "the curves as a picture"),
    ("results/train/history.json", "the trainer's log"),
    ("results/evaluate/card.json", "the card for machines"),
    ("results/evaluate/answers.jsonl", "all answers, before and after"),
    ("results/register/merged", "the registered weights"),
)


def data(run: RunFolder) -> Section | None:
    """Return what was learnt from and what the data check said."""
    found, check = run.artifact("data"), table(run.json("data_check.json"))
    if not found and not check:
        return None
    streamed = found.get("streamed") is True
    facts: list[tuple[str, pieces.Cell]] = [
        ("source", text(found, "source") or None),
        ("format", text(found, "format") or None),
        ("rows to learn from", "streamed" if streamed else number(found, "train_rows")),
        ("held-out rows", number(found, "test_rows")),
        ("rows left out", number(found, "dropped_rows")),
        ("hash of the rows", pieces.word(text(found, "content_hash")[:16]) if found else None),
    ]
    page = run.folder / "data_check.html"
    more = pieces.paragraph(pieces.link("The whole data check, with plots", to=page.name)) if page.is_file() else None
    said = pieces.paragraph(text(check, "summary")) if text(check, "summary") else None
    return Section(id="data", title="Data", body=pieces.join(said, pieces.pairs(facts), _findings(check), more))


def _findings(check: dict[str, object]) -> Markup | None:
    """Return what the data check found, worst first."""
    found = rows(check.get("findings"))
    if not found:
        return None
    tones = {"refused": Tone.bad, "warning": Tone.warn}
    order = list(tones)
    named = [(text(item, "level"), item) for item in found]
    named.sort(key=lambda pair: order.index(pair[0]) if pair[0] in order else len(order))
    shown = [
        [pieces.badge(level or "noted", tone=tones.get(level, Tone.plain)), text(item, "message")]
        for level, item in named
    ]
    return pieces.table(["", "finding"], shown, stack=True)


def flow(run: RunFolder) -> Section | None:
    """Return the question that the flow was asked, its answer, and how to talk on."""
    found = run.artifact("flow")
    if not found:
        return None
    facts: list[tuple[str, pieces.Cell]] = [
        ("asked", text(found, "question")),
        ("answered", text(found, "answer") or "(nothing)"),
        ("flow folder", pieces.word(text(found, "flow_folder"))),
        ("page", text(found, "url") or "not served: flow.serve=true serves it"),
    ]
    body = pieces.join(
        pieces.pairs(facts),
        pieces.paragraph("To talk to the model in the browser, or in the terminal with chat.ui=terminal:"),
        pieces.code("python -m phi_runner +recipe=chat"),
    )
    return Section(id="flow", title="Flow and chat", body=body)


def versions(run: RunFolder) -> Section | None:
    """Return with what the run was made."""
    found = run.versions
    if not found:
        return None
    machine, pins = (
        table(found.get("machine")),
        {name: str(pin) for name, pin in table(found.get("distributions")).items()},
    )
    devices = machine.get("devices")
    facts: list[tuple[str, pieces.Cell]] = [
        ("phi_runner", text(found, "phi_runner")),
        ("commit", pieces.word(text(found, "checkout")) if text(found, "checkout") else None),
        ("Python", text(found, "python")),
        ("system", text(machine, "system")),
        ("processor", text(machine, "processor")),
        ("cores", number(machine, "cores")),
        ("memory, GB", number(machine, "memory_gb")),
        ("devices", ", ".join(map(str, devices)) if isinstance(devices, list) and devices else None),
        ("threads", number(found, "threads") or None),
        ("seed", number(found, "seed")),
    ]
    first = [[name, pins[name]] for name in _MATTER if name in pins]
    rest = [[name, pin] for name, pin in pins.items() if name not in _MATTER]
    body = pieces.join(
        pieces.pairs(facts),
        pieces.table(["library", "version"], first) if first else None,
        pieces.folded(f"{len(rest)} more distributions", body=pieces.table(["library", "version"], rest), printed=False)
        if rest
        else None,
        pieces.paragraph("To run it again from nothing and see whether it comes out the same:"),
        pieces.code(f"python -m phi_runner +recipe=reproduce run={shlex.quote(str(run.folder))}"),
    )
    return Section(id="versions", title="Versions and machine", body=body)


def _present(run: RunFolder) -> Iterator[tuple[str, str]]:
    for name, about in _FILES:
        if (run.folder / name).exists():
            yield name, about


def relative(name: str) -> str:
    """Return a path below the page as an address."""
    return quote(Path(name).as_posix())


def files(run: RunFolder) -> Section | None:
    """Return links to what the run left, those only that are there."""
    shown = [[pieces.link(name, to=relative(name)), about] for name, about in _present(run)]
    told = pieces.paragraph(Markup("All of it lies in {}.").format(pieces.word(str(run.folder))))
    return Section(id="files", title="Files", body=pieces.join(told, pieces.table(["file", "what it is"], shown)))
