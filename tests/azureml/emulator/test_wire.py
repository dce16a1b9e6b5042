"""What the wire log hides and what it shows."""

from phi_runner.azureml.emulator.wire import redacted


def test_secrets_go_wherever_they_stand_and_the_rest_stays() -> None:
    asked = {
        "properties": {
            "credentials": {"credentialType": "SAS", "keys": {"key": "canary"}, "list": ["canary", 1]},
            "sasUri": "https://a/?sv=1&sig=canary", "logFiles": {"x": "https://a/b?sv=1&sig=ca%2Bnary&se=2"},
            "sasToken": "canary", "primaryKey": "canary", "keyType": "Primary", "keyValue": "canary",
        },
        "error": {"code": "NotFound", "message": "no"},
        "text": "Authorization: Bearer canary",
        "jwt": "eyJhbGciOi.eyJhdWQiOi.canary",
    }  # fmt: skip
    shown = redacted(asked)
    assert "canary" not in str(shown)
    assert "ca%2Bnary" not in str(shown)
    assert shown["properties"]["credentials"] == {"credentialType": "SAS", "keys": {"key": "***"}, "list": ["***"] * 2}
    assert shown["properties"]["logFiles"] == {"x": "https://a/b?sv=1&sig=***&se=2"}
    assert shown["properties"]["keyType"] == "Primary"
    assert shown["error"] == {"code": "NotFound", "message": "no"}


def test_long_texts_are_cut() -> None:
    shown = redacted({"content": "x" * 30_000})
    assert shown["content"].endswith("... (30000 characters)")
    assert len(shown["content"]) < 21_000
