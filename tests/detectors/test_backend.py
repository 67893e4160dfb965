import pytest

from masa_cli.detectors.backend import choose_backend


@pytest.mark.parametrize(
    ("text", "classes", "accelerator", "unknown", "name", "reason"),
    [
        (True, True, True, (), "gdino", "an accelerator"),
        (True, True, False, (), "lite", "without an accelerator"),
        (True, True, False, ("unicorn",), "gdino", 'does not know "unicorn"'),
        (True, False, False, (), "gdino", "no weights of lite"),
        (False, True, True, ("unicorn",), "lite", "no download"),
        (False, False, False, (), "gdino", "no weights of lite"),
    ],
)
def test_the_detector_that_suits(text, classes, accelerator, unknown, name, reason):
    chosen = choose_backend(
        has_text=text, has_classes=classes, has_accelerator=accelerator, unknown=unknown
    )
    assert chosen.name == name
    assert reason in chosen.reason
