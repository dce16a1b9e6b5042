"""Plans and reports survive every reader and writer, and a gateway that anybody could steer does not start."""

import subprocess
import sys
from pathlib import Path

from phi_runner.serve.gateway import steering
from phi_runner.serve.gateway.steering import Deployed, GatewaySettings, Phase, Plan, PlanFile, Report, Wish

WISH = Wish(name="blue", settings="blue.json", fingerprint="f", log="blue.log", start_timeout_s=1.0)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    assert (steering.read_plan(tmp_path), steering.read_report(tmp_path)) == (Plan(), None)
    plan = Plan().next(wishes=(WISH,), traffic={"blue": 100}, standby=("green",))
    steering.write(plan, tmp_path / steering.PLAN_FILE)
    assert (steering.read_plan(tmp_path), plan.generation) == (plan, 1)
    deployed = Deployed(name="blue", fingerprint="f", phase=Phase.ready, pid=1, restarts=0, why="")
    leaving = Deployed(name="green", fingerprint="g", phase=Phase.draining, pid=2, restarts=0, why="")
    report = Report(generation=1, port=80, deployed=(deployed, leaving))
    steering.write(report, tmp_path / steering.REPORT_FILE)
    assert steering.read_report(tmp_path) == report
    assert (report.of("blue"), report.of("green")) == (deployed, None)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_plan_is_seen_once(tmp_path: Path) -> None:
    watched = PlanFile(tmp_path)
    assert watched.changed() is None
    for generation in (1, 2):
        plan = Plan(generation=generation)
        steering.write(plan, tmp_path / steering.PLAN_FILE)
        assert (watched.changed(), watched.changed()) == (plan, None)


def test_a_folder_that_others_may_write_into_steers_nothing(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    settings = GatewaySettings(name="phi", folder=str(tmp_path / "open"), key_file="key")
    steering.write(settings, tmp_path / "gateway.json")
    command = [sys.executable, "-m", "phi_runner.serve.gateway", "--settings", str(tmp_path / "gateway.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.startswith("error: others may write into")) == (1, True)
