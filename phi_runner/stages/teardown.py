"""Stage `teardown`: stop every server that runs have left, and forget the keys of the stopped endpoints."""

from phi_runner import processes
from phi_runner.config.schema import RunConfig, StageName
from phi_runner.stages.stage import Inputs, RunDir, Stage


def run(_config: RunConfig, _inputs: Inputs, rundir: RunDir) -> None:
    """Stop what runs, flow pages before the endpoints that they ask."""
    from phi_runner.deploy import keys, local

    running = sorted(processes.listed(outputs=rundir.outputs), key=lambda item: item.kind == local.KIND)
    if not running:
        rundir.events.info(f"nothing runs for {rundir.outputs}")
    for item in running:
        processes.stop_recorded(item, outputs=rundir.outputs)
        if item.kind == local.KIND:
            keys.file_of(item.name, outputs=rundir.outputs).unlink(missing_ok=True)
        rundir.events.info(
            f"stopped {item.kind} {item.name} at {item.url} (pid {item.pid})", pid=item.pid, url=item.url
        )


STAGE = Stage(
    name=StageName.teardown,
    about="stop every endpoint and flow page that still runs",
    run=run,
    produces=None,
    pure=False,
)
