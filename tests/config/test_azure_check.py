"""What would fail in Azure after minutes, or after money, is refused in one line before anything is asked of it."""

import pytest

from phi_runner.config import clouds
from phi_runner.config.azure_check import problems
from phi_runner.config.check import check
from phi_runner.errors import ConfigProblem, SweepWouldDeploy
from tests.config.configs import config_of

WHOLE = "+recipe=full compute=azure_cpu deploy=azure flow=foundry azure=rehearsal"
ACCOUNT = "+recipe=full deploy=azure azure.subscription=0f0f0f0f-1111-2222-3333-444444444444"


def test_the_whole_cloud_recipe_is_sound() -> None:
    config = config_of(WHOLE)
    check(config)
    assert clouds.choices(config) == ["compute=azure_cpu", "deploy=azure", "flow=foundry"]


def test_a_local_run_is_never_asked_about_azure() -> None:
    config = config_of("+recipe=full azure.workspace=x")
    assert not clouds.needs_azure(config)
    assert list(problems(config)) == []


def test_an_account_is_needed_and_its_form_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_SUBSCRIPTION_ID", raising=False)
    [said] = problems(config_of("+recipe=full deploy=azure"))
    assert said.startswith("azure.subscription is empty: type azure.subscription=ID")
    [said] = problems(config_of("+recipe=full deploy=azure azure.subscription=my-account"))
    assert "azure.subscription=my-account is no subscription id" in said


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("deploy.name=9lives", "deploy.name='9lives' is not a legal endpoint name"),
        ("deploy.name=ab", "3 to 32 letters"),
        ("deploy.name=phi_endpoint", "letters, digits and dashes"),
        ("azure.workspace=x", "azure.workspace='x' is not a legal name: type 3 to 33"),
        ("azure.region='East US 2'", "such as eastus2"),
        ("azure.resource_group=ends.with.", "azure.resource_group='ends.with.'"),
        ("azure.storage_account=Has-Dash", "3 to 24 lower-case letters and digits"),
        ("compute.cluster=2fast", "compute.cluster='2fast' is not a legal cluster name"),
        ("compute.min_nodes=2", "compute.min_nodes=2 is more than compute.max_nodes=1"),
        ("azure.nodes=2", "type compute.max_nodes=2"),
        ("deploy.shift=[50,10,100]", "must rise to 100"),
        ("deploy.shift=[]", "must rise to 100"),
        ("deploy.shift=[10,50]", "must rise to 100"),
        ("azure.cloud=custom", "needs all six azure.cloud_endpoints; it lacks active_directory"),
        ("+azure.cloud_endpoints.azure_portal=https://x", "type azure.cloud=custom to use it"),
        ("flow.connection=c1", "flow.connection='c1' is not a legal name in Foundry"),
        ("deploy=local", "flow=foundry makes a connection that other machines use"),
        ("azure.fetch_result=false deploy=local flow=promptflow", "azure.fetch_result=false leaves the weights"),
        ("train=azure_catalog", "type deploy.serving=mlflow for the catalog's model"),
        ("train=azure_catalog deploy=local flow=promptflow", "train=azure_catalog leaves the weights in Azure"),
    ],
)
def test_what_azure_would_refuse_is_refused_here(override: str, told: str) -> None:
    with pytest.raises(ConfigProblem) as caught:
        check(config_of(f"{WHOLE} {override}"))
    assert told in str(caught.value)


def test_a_sweep_bills_only_when_told_to() -> None:
    config = config_of(f"{ACCOUNT} compute=azure_gpu stages=[data,train]")
    with pytest.raises(SweepWouldDeploy, match=r"compute=azure_gpu.*sweep\.may_deploy=true"):
        check(config, multirun=True)
    config.sweep.may_deploy = True
    check(config, multirun=True)


def test_a_model_stays_where_it_is_registered() -> None:
    assert clouds.registers_in_workspace(config_of(WHOLE))
    assert clouds.registers_in_workspace(config_of(f"{WHOLE} deploy=none flow=none azure.fetch_result=false"))
    assert not clouds.registers_in_workspace(config_of("+recipe=full compute=azure_cpu"))
    assert not clouds.registers_in_workspace(config_of("+recipe=full"))
