"""The table of machine sizes: complete for our presets, in the specification's words, and what a run may bill."""

import pytest

from phi_runner.config import prices, vm_sizes
from phi_runner.config.schema import RunConfig
from tests.config.configs import config_of

AZURE = "+recipe=full azure.subscription=00000000-0000-0000-0000-000000000001 "


def config(overrides: str) -> RunConfig:
    return config_of(AZURE + overrides)


@pytest.mark.parametrize(
    "choice", ["compute=azure_cpu", "compute=azure_gpu", "deploy=azure", "deploy=azure_gpu", "train=azure_catalog"]
)
def test_every_preset_names_a_size_on_offer(choice: str) -> None:
    found = config(choice)
    assert vm_sizes.rented(found)
    assert vm_sizes.problems(found) == []
    assert vm_sizes.warnings(found) == []


def test_the_quota_families_are_the_tutorials() -> None:
    a100, v100 = vm_sizes.SIZES["Standard_NC24ads_A100_v4"], vm_sizes.SIZES["Standard_NC6s_v3"]
    assert (a100.quota_name, a100.cores) == ("Standard NCADSA100v4 Family Cluster Dedicated vCPUs", 24)
    assert (v100.quota_name, v100.cores) == ("Standard NCSv3 Family Cluster Dedicated vCPUs", 6)


def test_sizes_are_found_in_any_spelling_and_by_their_likeness() -> None:
    found = vm_sizes.lookup("standard_nc24ads_a100_V4")
    assert found is not None
    assert (found.gpus, found.gpu, found.gpu_memory_gib) == (1, "A100", 80)
    assert vm_sizes.lookup("Standard_NC24ads_A100") is None
    assert vm_sizes.nearest("Standard_NC24ads_A100")[0] == "Standard_NC24ads_A100_v4"
    assert "Standard_NC6s_v3" not in vm_sizes.nearest("Standard_NC6s_v2")


def test_an_unknown_size_is_refused_with_the_nearest() -> None:
    (problem,) = vm_sizes.problems(config("compute=azure_cpu compute.vm_size=Standard_E16_v3"))
    assert problem.startswith("compute.vm_size=Standard_E16_v3 is no size that is known. Did you mean Standard_E16s_v3")


def test_the_retired_size_is_warned_about_with_its_alternative() -> None:
    (warning,) = vm_sizes.warnings(config("deploy=azure_v100"))
    assert "deploy.instance_type=Standard_NC6s_v3: Azure retired this size on 2025-09-30" in warning
    assert "Standard_NC24ads_A100_v4" in warning
    assert vm_sizes.problems(config("deploy=azure_v100")) == []


def test_only_what_the_selected_stages_rent_counts() -> None:
    assert vm_sizes.usd_per_hour(config("compute=azure_cpu deploy=azure")) == [
        ("cluster cpu-e16s-v3 (1 x Standard_E16s_v3)", 1.008),
        ("endpoint (1 x Standard_E4s_v3)", 0.252),
    ]
    assert vm_sizes.usd_per_hour(config("compute=azure_cpu deploy=azure stages=[data]")) == []
    assert vm_sizes.usd_per_hour(config("")) == []


def test_the_dearest_size_of_a_catalog_fine_tune_counts() -> None:
    sizes = "train.instance_types=[Standard_NC4as_T4_v3,Standard_NC24ads_A100_v4]"
    assert vm_sizes.usd_per_hour(config(f"train=azure_catalog {sizes}")) == [
        ("catalog fine-tune (1 x Standard_NC24ads_A100_v4)", 3.673)
    ]


def test_more_than_the_user_allows_is_refused_with_the_sum() -> None:
    (problem,) = vm_sizes.problems(config("compute=azure_gpu compute.max_nodes=2 deploy=azure_a100"))
    assert problem.startswith("azure.max_usd_per_hour=10 is less than the 11.02 USD that this run can bill an hour: ")
    assert "cluster gpu-nc24s-a100-v4 (2 x Standard_NC24ads_A100_v4) 7.35 + endpoint (1 x" in problem
    assert prices.table().as_of in problem
    assert "indicative" in problem
