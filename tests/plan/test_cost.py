"""What a plan says of money: the dated table, an own price, what stays, and what is not known."""

from pathlib import Path

import pytest
import yaml

from phi_runner.config import places, prices, vm_sizes
from phi_runner.config.schema import StageName
from phi_runner.plan.bands import Band, Estimates, Missing
from phi_runner.plan.estimate import estimate
from phi_runner.store import Store
from tests.config.configs import config_of

_AZURE = "azure.subscription=00000000-0000-0000-0000-000000000001 "
_CLOUD = f"+recipe=full compute=azure_cpu deploy=azure {_AZURE}"


def _estimate(overrides: str, tmp_path: Path, *, reused: tuple[StageName, ...] = ()) -> Estimates:
    return estimate(config_of(overrides), store=Store(tmp_path), keys={}, reused=reused, dataset=None)


def _known(figure: object) -> Band:
    assert isinstance(figure, Band)
    assert figure.low <= figure.likely <= figure.high
    return figure


def test_every_size_has_a_price_in_a_dated_table() -> None:
    table = prices.table()
    assert set(table.usd_per_hour) == set(vm_sizes.SIZES)
    assert all(usd > 0 for usd in table.usd_per_hour.values())
    year, month = table.as_of.split("-")
    assert int(year) >= 2025
    assert 1 <= int(month) <= 12


def test_the_table_is_no_option_of_the_group_azure() -> None:
    assert set(places.presets("azure")) == {"account", "rehearsal"}
    (file,) = (places.folder("conf") / "azure" / "prices").glob("*.yaml")
    assert yaml.safe_load(file.read_text())["as_of"] == file.stem


def test_a_run_on_this_machine_bills_nothing(tmp_path: Path) -> None:
    found = _estimate("", tmp_path)
    assert found.bills == ()
    assert _known(found.usd_total).high == 0
    assert found.prices_as_of == ""


def test_a_rehearsal_bills_nothing(tmp_path: Path) -> None:
    assert _estimate("+recipe=full compute=azure_cpu deploy=azure azure=rehearsal", tmp_path).bills == ()


def test_machines_bill_by_their_hours_and_the_endpoint_stays(tmp_path: Path) -> None:
    found = _estimate(_CLOUD, tmp_path)
    bills = {bill.what.partition(" ")[0]: bill for bill in found.bills}
    cluster, endpoint, registry = bills["cluster"], bills["endpoint"], bills["container"]
    assert _known(cluster.usd).likely == pytest.approx(1.008 * _known(cluster.hours).likely)
    assert not cluster.stays
    assert (_known(endpoint.usd).likely, endpoint.stays) == (0.252, True)
    assert registry.stays
    assert _known(found.usd_per_hour_after).likely == pytest.approx(0.252 + 0.007)
    assert _known(found.usd_total).likely == pytest.approx(sum(_known(bill.usd).likely for bill in found.bills))
    assert found.prices_as_of == prices.table().as_of


def test_the_cluster_bills_for_the_training_that_it_does(tmp_path: Path) -> None:
    found = _estimate(_CLOUD, tmp_path, reused=(StageName.train, StageName.evaluate))
    assert [bill.what.partition(" ")[0] for bill in found.bills] == ["endpoint", "container"]


def test_an_own_price_counts_instead_of_the_tables(tmp_path: Path) -> None:
    found = _estimate(f"{_CLOUD} +azure.prices.standard_e4s_V3=0.1", tmp_path)
    (endpoint,) = [bill for bill in found.bills if bill.what == "endpoint"]
    rate = _known(endpoint.usd_per_hour)
    assert (rate.likely, rate.source) == (0.1, "azure.prices")


def test_a_size_without_a_price_leaves_the_sum_open_and_says_what_to_type(tmp_path: Path) -> None:
    found = _estimate(f"{_CLOUD} deploy.instance_type=Standard_New_v9", tmp_path)
    assert isinstance(found.usd_total, Missing)
    assert "the price of Standard_New_v9: type +azure.prices.Standard_New_v9=USD_PER_HOUR" in found.missing


def test_low_priority_counts_in_full_and_says_so(tmp_path: Path) -> None:
    found = _estimate(f"{_CLOUD} compute.low_priority=true", tmp_path)
    (cluster,) = [bill for bill in found.bills if bill.what.startswith("cluster")]
    rate = _known(cluster.usd_per_hour)
    assert rate.likely == 1.008
    assert "counted in full" in rate.source


def test_nodes_that_always_run_stay(tmp_path: Path) -> None:
    found = _estimate(f"{_CLOUD} compute.min_nodes=1", tmp_path)
    (cluster,) = [bill for bill in found.bills if bill.what.startswith("cluster")]
    assert cluster.stays
    assert _known(found.usd_per_hour_after).likely == pytest.approx(1.008 + 0.252 + 0.007)


def test_a_catalog_fine_tune_bills_its_dearest_size(tmp_path: Path) -> None:
    found = _estimate(f"+recipe=tutorial_foundry {_AZURE}", tmp_path)
    assert any(bill.size == "Standard_NC24ads_A100_v4" and bill.what == "catalog fine-tune" for bill in found.bills)
    assert any("Azure chooses its method" in line for line in found.missing)
