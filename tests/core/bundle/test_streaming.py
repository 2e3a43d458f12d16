"""A bundle is written and read in the same memory however many items it has."""


def test_memory_does_not_grow_with_the_items(child, tmp_path):
    hundred, three_hundred = child("streaming", tmp_path, 100, 300)["peaks"]
    assert three_hundred < 300_000_000
    assert three_hundred - hundred < 20_000_000
    assert 300 * 229_376 < (tmp_path / "query.ppcmi").stat().st_size < 300 * 231_000
