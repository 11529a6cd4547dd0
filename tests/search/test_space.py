import json
import random

import pytest
from neurodeploy.errors import UsageError
from neurodeploy.search.space import Space
from search_fixtures import released_searches


def test_numbers_and_genomes_agree_with_autosnn_arch_ids() -> None:
    for path in released_searches():
        found = json.loads(path.read_text())
        blocks = found["candidate_blocks"]
        space = Space.uniform(blocks, found["num_TBD"])
        assert space.size == found["search_space_size"]
        assert found["decode_arch_id_little_endian_base5"]
        for number, with_pools in found["decode_arch_id_little_endian_base5"].items():
            genome = tuple(blocks[i] for i in with_pools if i >= 0)
            assert space.genome(int(number)) == genome
            assert space.number(genome) == int(number)


def test_every_genome_of_an_uneven_space_is_numbered_once() -> None:
    space = Space((("a", "b", "c"), ("x",), ("p", "q")))
    genomes = [space.genome(i) for i in range(space.size)]
    assert len(set(genomes)) == space.size == 6
    assert [space.number(g) for g in genomes] == list(range(6))
    assert all(g in space for g in genomes)
    with pytest.raises(UsageError, match="no genome 6"):
        space.genome(6)


def test_draws_cover_the_space_and_unseen_draws_end() -> None:
    space = Space((("a", "b", "c"), ("p", "q")))
    rng = random.Random(0)
    assert {space.draw(rng) for _ in range(200)} == {space.genome(i) for i in range(6)}
    seen: set[tuple[str, ...]] = set()
    for _ in range(6):
        genome = space.draw_unseen(rng, seen)
        assert genome is not None
        assert genome not in seen
        seen.add(genome)
    assert space.draw_unseen(rng, seen) is None


def test_the_last_unseen_genome_of_a_large_space_is_found() -> None:
    space = Space.uniform("abcde", 5)
    seen = {space.genome(i) for i in range(space.size)} - {space.genome(1234)}
    assert space.draw_unseen(random.Random(3), seen) == space.genome(1234)


def test_a_bad_space_or_genome_is_refused_with_its_position() -> None:
    with pytest.raises(UsageError, match="at least one position"):
        Space(())
    with pytest.raises(UsageError, match="position 1"):
        Space((("a",), ("b", "b")))
    space = Space.uniform(("a", "b"), 2)
    with pytest.raises(UsageError, match="no block 'c' at position 1"):
        space.check(("a", "c"))
    with pytest.raises(UsageError, match="1 blocks for 2 positions"):
        space.number(("a",))
    assert ("a",) not in space
    assert "ab" not in space
