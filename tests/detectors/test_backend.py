import pytest

from masa_cli.detectors.backend import choose_backend


@pytest.mark.parametrize(
    ("unknown", "text", "classes", "accelerator", "name", "reason"),
    [
        ((), False, False, False, "gdino", "no weights of lite"),
        ((), True, False, True, "gdino", "no weights of lite"),
        ((), True, True, True, "gdino", "a GPU"),
        ((), True, True, False, "lite", "slow without a GPU"),
        ((), False, True, True, "lite", "no weights of gdino"),
        (("unicorn",), True, True, False, "gdino", '"unicorn"'),
        (("unicorn",), False, True, False, "lite", "no weights of gdino"),
    ],
)
def test_the_detector_that_suits(unknown, text, classes, accelerator, name, reason):
    chosen = choose_backend(
        unknown, has_text=text, has_classes=classes, has_accelerator=accelerator
    )
    assert chosen.name == name
    assert reason in chosen.reason
