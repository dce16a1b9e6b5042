"""The plain way to serve a model: FastAPI, a lock, `generate` in a thread, a streamer: `bare.py MODEL PORT`."""

import json
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response, StreamingResponse
from transformers import AutoModelForCausalLM, AutoTokenizer, TextIteratorStreamer

folder, port = sys.argv[1], int(sys.argv[2])
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
one_at_a_time = threading.Lock()
app = FastAPI()


def generate(body: dict[str, Any], *, streamer: TextIteratorStreamer | None = None) -> tuple[str, int]:
    """Answer a dialogue greedily; return the text and the number of its tokens."""
    given = tokenizer.apply_chat_template(
        body["messages"], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    limit = body.get("max_tokens", 64)
    with one_at_a_time, torch.inference_mode():
        tokens = model.generate(**given, max_new_tokens=limit, do_sample=False, streamer=streamer)
    new = tokens[0, given["input_ids"].shape[1] :]
    return tokenizer.decode(new, skip_special_tokens=True), len(new)


def events(body: dict[str, Any]) -> Iterator[str]:
    """Yield an answer as OpenAI's chunks."""
    head = {"id": uuid.uuid4().hex, "object": "chat.completion.chunk", "created": int(time.time()), "model": folder}
    streamer, counted = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True), []
    worker = threading.Thread(target=lambda: counted.append(generate(body, streamer=streamer)[1]))
    worker.start()
    for text in streamer:
        if text:
            choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
            yield f"data: {json.dumps({**head, 'choices': [choice]})}\n\n"
    worker.join()
    yield f"data: {json.dumps({**head, 'choices': [], 'usage': {'completion_tokens': counted[0]}})}\n\n"
    yield "data: [DONE]\n\n"


@app.get("/health")
def health() -> dict[str, bool]:
    """Say that the model is loaded."""
    return {"ready": True}


@app.post("/v1/chat/completions")
def chat(body: dict[str, Any]) -> Response:
    """Answer a dialogue, whole or as a stream."""
    if body.get("stream"):
        return StreamingResponse(events(body), media_type="text/event-stream")
    text, tokens = generate(body)
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return JSONResponse({"choices": [choice], "usage": {"completion_tokens": tokens}})


uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")
