from masa_cli.usual import as_fact, from_facts


def test_changes_come_back_from_the_facts_of_a_run():
    usual = {"hybrid": ("birth_score=0.4",), "motion": []}
    assert from_facts(dict([as_fact(usual)])) == {"hybrid": ("birth_score=0.4",), "motion": ()}


def test_what_is_no_changes_is_passed_over():
    name, _ = as_fact({})
    assert from_facts({}) == {}
    for text in ("", "[1]", '{"hybrid": 3}', "{"):
        assert from_facts({name: text}) == {}
