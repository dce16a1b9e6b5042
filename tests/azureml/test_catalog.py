"""The settings of the catalog's fine-tune, under the names that its pipeline has."""

from phi_runner.azureml.catalog import hyperparameters
from phi_runner.config.schema import CatalogTrain, Scheduler
from tests import runs

# Every name is an input of the public chat_completion_pipeline component, version 0.0.57.
_KNOWN = {
    "num_train_epochs", "per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps",
    "learning_rate", "lr_scheduler_type", "warmup_steps", "weight_decay", "adam_beta2", "max_grad_norm",
    "max_seq_length", "seed",
}  # fmt: skip


def _settings(**changes: object) -> CatalogTrain:
    return CatalogTrain(**runs.train_values(learning_rate=5e-6, epochs=3, batch_size=4, warmup_ratio=0.2, **changes))


def test_every_setting_is_a_text_under_the_pipelines_own_name() -> None:
    told = hyperparameters(_settings(), rows=100, seed=0)
    assert set(told) == _KNOWN
    assert all(isinstance(value, str) for value in told.values())
    assert told["learning_rate"] == "0.000005"  # as published examples write it, not 5e-06
    assert told["lr_scheduler_type"] == "cosine"
    assert told["warmup_steps"] == "15"  # 25 steps an epoch, 3 epochs, a fifth of them


def test_what_the_user_names_wins() -> None:
    settings = _settings(hyperparameters={"apply_lora": "true", "seed": "7"}, scheduler=Scheduler.constant)
    told = hyperparameters(settings, rows=10, seed=0)
    assert (told["apply_lora"], told["seed"], told["lr_scheduler_type"]) == ("true", "7", "constant_with_warmup")
