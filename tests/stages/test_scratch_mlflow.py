import pytest, time
from phi_runner.config.schema import Serving
from tests.stages.test_azure import *
from tests.stages.test_azure import site as base_site
from phi_runner.azureml import registry
pytestmark = pytest.mark.filterwarnings("ignore")

def test_mlflow(site, monkeypatch):
    version = registry.register(site.cloud.azure, name="phi-real", place="/tmp/dev/e5/mlmodel/model_output", tags={"phi_runner.register_key": "k2"})
    reg = replace(site.registered, name="phi-real", version=version, asset=site.cloud.azure.ids.model("phi-real", version=version))
    t=time.monotonic()
    made = site.run(reg, serving=Serving.mlflow)
    print(time.monotonic()-t, made)
    print(site.heard[-1].text())
    [put] = site.cloud.puts("/deployments/blue$")
    print(put["request"]["properties"].keys(), put["request"]["properties"]["environmentVariables"])
    config = replace(site.config(serving=Serving.mlflow), flow=FoundryFlow(), stages=[StageName.flow])
    rundir, heard = runs.rundir(site.folder / "flow", outputs=site.outputs, stage="flow")
    result = flow.STAGE.run(config, Inputs({StageName.deploy: made}, {}), rundir)
    print(result, heard.text())
    for call in site.cloud.rig.wire():
        if "Resources/deployments" in call["path"] and call["method"] == "PUT":
            import json
            print(json.dumps(call["request"]["properties"]["parameters"], indent=0)[:3000])
