import pytest

from masa_cli.detectors.backend import choose_backend


@pytest.mark.parametrize(
    ("text", "classes", "name", "reason"),
    [
        (True, True, "gdino", "its weights are here"),
        (True, False, "gdino", "its weights are here"),
        (False, True, "lite", "no weights of gdino"),
        (False, False, "gdino", "no weights of lite"),
    ],
)
def test_the_detector_that_suits(text, classes, name, reason):
    chosen = choose_backend(has_text=text, has_classes=classes)
    assert chosen.name == name
    assert reason in chosen.reason
