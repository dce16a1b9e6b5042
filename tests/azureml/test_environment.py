"""The software that jobs and deployments get."""

from importlib.metadata import version

from phi_runner.azureml import environment


def _pip(conda: environment.Conda) -> list[str]:
    found: list[str] = conda["dependencies"][-1]["pip"]
    return found


def test_jobs_get_the_versions_that_are_installed_here_without_build_tags() -> None:
    asked = _pip(environment.training_conda())
    assert f"trl=={version('trl')}" in asked
    assert f"torch=={version('torch').partition('+')[0]}" in asked
    assert not any("+" in item for item in asked)
    assert environment.pins(("no-such-distribution", "trl")) == [f"trl=={version('trl')}"]


def test_what_serves_brings_what_azures_images_import() -> None:
    for asked in (environment.model_requirements(), _pip(environment.inference_conda())):
        assert set(environment.AZURE_SERVING) <= {item.partition("==")[0] for item in asked}
        assert any(item.startswith("transformers==") for item in asked)


def test_the_inference_server_is_pinned_and_may_choose_its_pydantic() -> None:
    asked = environment.scoring_requirements()
    assert "azureml-inference-server-http==1.5.1" in asked
    assert not any(item.startswith("pydantic") for item in asked)


def test_the_same_content_is_the_same_version() -> None:
    conda = environment.training_conda()
    number = environment._content_version("image:1", conda)
    assert number == environment._content_version("image:1", environment.training_conda())
    assert number != environment._content_version("image:2", conda)
    assert number != environment._content_version("image:1", conda | {"name": "other"})
