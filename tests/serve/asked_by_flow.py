"""Run the Foundry tutorial's flow once, in its own process: `python -m tests.serve.asked_by_flow FOLDER URL KEY`."""

import json
import sys


def main(folder: str, url: str, key: str) -> None:
    """Print the flow's outputs as JSON."""
    from promptflow.client import load_flow
    from promptflow.connections import CustomConnection

    flow = load_flow(folder)
    connection = CustomConnection(name="phi-endpoint", configs={"endpoint": url}, secrets={"key": key})
    flow.context.connections = {"ask": {"connection": connection}}
    print(json.dumps(flow(input_data="Who founded Microsoft?")))


if __name__ == "__main__":
    main(*sys.argv[1:])
