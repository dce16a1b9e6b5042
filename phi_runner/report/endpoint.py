"""The endpoint of a run and how it is called: in curl, in Python, with OpenAI's client; the key stays in its file."""

import json
import shlex
from typing import Any

from markupsafe import Markup

from phi_runner.pages import pieces
from phi_runner.pages.frame import Section
from phi_runner.report.run_folder import RunFolder, text

_QUESTION = "Who founded Microsoft?"
KEY_VARIABLE = "PHI_ENDPOINT_KEY"
"""Where the examples for Azure expect the key, which no file here holds."""


def question(run: RunFolder) -> str:
    """Return what the flow of this run was asked, or the tutorials' question."""
    return text(run.artifact("flow"), "question") or _QUESTION


def _body(endpoint: dict[str, Any], asked: str) -> dict[str, Any]:
    """Return a request for `/score` in a form that the endpoint answers."""
    if endpoint.get("chat_form", True):
        dialogue = [{"role": "user", "content": asked}]
        return {"input_data": {"input_string": dialogue, "parameters": {"max_new_tokens": 128}}}
    return {"input_data": [asked], "params": {"max_new_tokens": 128, "return_full_text": False}}


def curl(endpoint: dict[str, Any], *, asked: str) -> str:
    """Return the call of `/score` as a command; it reads the key where it lies."""
    file = text(endpoint, "key_file")
    key = f"$(cat {shlex.quote(file)})" if file else f"${KEY_VARIABLE}"
    body = shlex.quote(json.dumps(_body(endpoint, asked), ensure_ascii=False))
    address = shlex.quote(text(endpoint, "url") + "/score")
    return (
        f"curl -sS {address} \\\n"
        f'  -H "Authorization: Bearer {key}" \\\n'
        f"  -H 'Content-Type: application/json' \\\n  -d {body}"
    )


def _python_key(endpoint: dict[str, Any]) -> tuple[str, str]:
    file = text(endpoint, "key_file")
    if file:
        return "from pathlib import Path", f"key = Path({file!r}).read_text().split()[0]"
    return "import os", f"key = os.environ[{KEY_VARIABLE!r}]"


def python(endpoint: dict[str, Any], *, asked: str) -> str:
    """Return the call of `/score` with requests."""
    imported, key = _python_key(endpoint)
    return (
        f"{imported}\n\nimport requests\n\n{key}\nanswer = requests.post(\n"
        f"    {text(endpoint, 'url') + '/score'!r},\n"
        '    headers={"Authorization": f"Bearer {key}"},\n'
        f"    json={_body(endpoint, asked)!r},\n"
        "    timeout=300,\n)\nanswer.raise_for_status()\nprint(answer.json())"
    )


def openai(endpoint: dict[str, Any], *, asked: str) -> str:
    """Return the call of `/v1/chat/completions` with OpenAI's client."""
    imported, key = _python_key(endpoint)
    return (
        f"{imported}\n\nfrom openai import OpenAI\n\n{key}\n"
        f"client = OpenAI(base_url={text(endpoint, 'url') + '/v1'!r}, api_key=key)\n"
        "reply = client.chat.completions.create(\n"
        f"    model={text(endpoint, 'model')!r},\n"
        f"    messages=[{{'role': 'user', 'content': {asked!r}}}],\n"
        "    max_tokens=128,\n)\nprint(reply.choices[0].message.content)"
    )


def section(run: RunFolder) -> Section | None:
    """Return address, key place and calls of the endpoint that this run left."""
    endpoint = run.artifact("deploy")
    if not text(endpoint, "url"):
        return None
    asked, local = question(run), not text(endpoint, "resource")
    body = pieces.join(
        pieces.pairs(_facts(endpoint)),
        _life(endpoint),
        pieces.heading("curl"),
        pieces.code(curl(endpoint, asked=asked)),
        pieces.heading("Python, with requests"),
        pieces.code(python(endpoint, asked=asked)),
        *([pieces.heading("OpenAI's client"), pieces.code(openai(endpoint, asked=asked))] if local else []),
    )
    return Section(id="endpoint", title="Endpoint", body=body)


def _facts(endpoint: dict[str, Any]) -> list[tuple[str, pieces.Cell]]:
    file = text(endpoint, "key_file")
    return [
        ("name", text(endpoint, "name")),
        ("address", pieces.word(text(endpoint, "url") + "/score")),
        ("serves", text(endpoint, "model")),
        ("deployment", text(endpoint, "deployment") or None),
        (
            "key",
            pieces.word(file) if file else Markup("in Azure; the examples read {}").format(pieces.word(KEY_VARIABLE)),
        ),
        ("resource", pieces.word(text(endpoint, "resource")) if text(endpoint, "resource") else None),
    ]


def _life(endpoint: dict[str, Any]) -> Markup:
    """Say how long it answers, and how it comes back or goes."""
    if text(endpoint, "resource"):
        return pieces.notice(
            pieces.join(
                pieces.paragraph("It bills until it is removed. Its key, and its removal:"),
                pieces.code(
                    f"export {KEY_VARIABLE}=$(az ml online-endpoint get-credentials --name "
                    f"{shlex.quote(text(endpoint, 'name'))} --query primaryKey -o tsv)\n"
                    "python -m phi_runner +recipe=teardown"
                ),
            ),
            tone=pieces.Tone.warn,
        )
    if endpoint.get("detached"):
        return pieces.paragraph(
            Markup("It goes on after the run; {} stops it.").format(
                pieces.word("python -m phi_runner +recipe=teardown")
            )
        )
    return pieces.paragraph(
        Markup("It ended with the run. {} keeps it running, {} starts it again to talk to it.").format(
            pieces.word("deploy=local_detached"), pieces.word("python -m phi_runner +recipe=chat")
        )
    )
