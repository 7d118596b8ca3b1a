"""A checkpoint's file: what it holds, and that what is damaged, hostile or of another version is refused."""
import ast
import os
import pickle
import re
import zlib

import pytest
import torch
from tiny import bits
from unit_helpers import classifier, refusal

from pruning import checkpoint

ABOUT = {"flags": {"seed": 30}, "settings": {"momentum": 0.9}, "provenance": {"commit": "abc"}}


@pytest.fixture
def written(tmp_path):
    """The path of a checkpoint, and the state that it is of: stopped in an epoch, after a step."""
    state = classifier()
    state.model(torch.rand(4, 16)).sum().backward()
    state.optimizer.step()
    state.epoch, state.seconds = 3, 1.5
    state.pause(14, 0.5, torch.rand(22, 2), {"cpu": torch.get_rng_state()})
    path = str(tmp_path / "training_logwithPruning.checkpoint")
    with open(str(tmp_path / "training_logwithPruning.txt"), "w") as log:
        log.write("# seed = 30\n")
        log.flush()
        checkpoint.write(state, checkpoint.Outputs([log], path, ABOUT, None))
    return path, state


def test_a_checkpoint_says_all_that_a_run_is(written):
    path, state = written
    saved = checkpoint.read(path)
    assert {name: saved[name] for name in ABOUT} == ABOUT
    assert (saved["epoch"], saved["rounds"], saved["widths"], saved["batches"]) == (3, 0, [50, 30], 14)
    assert (saved["seed"], saved["seconds"], saved["spent"]) == (30, 1.5, 0.5)
    content = b"# seed = 30\n"
    assert saved["extents"] == {"training_logwithPruning.txt": (len(content), zlib.crc32(content))}
    assert [tuple(weight.shape) for weight in saved["weights"].values()] == [(50, 16), (30, 50), (3, 30)]
    again = checkpoint.restore(classifier(seed=31), saved)
    for name in ("epoch", "rounds", "seconds", "batches", "spent", "history", "random", "seen", "seed"):
        assert bits(getattr(again, name)) == bits(getattr(state, name)), name
    assert bits(again.model.state_dict()) == bits(state.model.state_dict())
    assert bits(again.optimizer.state_dict()) == bits(state.optimizer.state_dict())


def change(path, **changes):
    """Give the text of a checkpoint other values; None takes one away."""
    saved = torch.load(path, weights_only=True)
    text = {**ast.literal_eval(saved["text"]), **changes}
    saved["text"] = repr({name: value for name, value in text.items() if value is not None})
    torch.save(saved, path)


@pytest.mark.parametrize("changes", [
    {"format": 1}, {"format": checkpoint.FORMAT + 1}, {"format": "2"},
    {"format": None, "settings": None, "provenance": None, "config": {}, "environment": {}}])  # before formats had one
def test_a_checkpoint_of_another_version_is_refused_with_a_way_out(written, changes):
    path, _ = written
    change(path, **changes)
    assert re.fullmatch(r"\S+withPruning.checkpoint is of another version of this suite; its commit .*",
                        refusal(checkpoint.read, path))


@pytest.mark.parametrize("name", checkpoint.KEYS)
def test_a_checkpoint_that_lacks_a_part_is_refused(written, name):
    path, _ = written
    change(path, **{name: None})
    saved = torch.load(path, weights_only=True)
    saved.pop(name, None)
    torch.save(saved, path)
    assert "withPruning.checkpoint is damaged or no checkpoint" in refusal(checkpoint.read, path)


class Hostile:
    """Pickled, it makes a folder when it is read by a reader that does as it is told."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("damage", [
    lambda content: b"", lambda content: content[:1], lambda content: content[:-1],
    lambda content: content[:len(content) // 2], lambda content: content[1:], lambda content: b"a text\n" * 100,
    lambda content: b"\0" * len(content), lambda content: content[:5000] + content[5100:],
    lambda content: re.sub(b"(PK\1\2.{6})\0", b"\\1\x08", content, flags=re.S)])  # "stored" becomes "deflated"
def test_a_damaged_checkpoint_is_refused(written, damage):
    path, _ = written
    with open(path, "rb") as file:
        content = file.read()
    with open(path, "wb") as file:
        file.write(damage(content))
    assert "withPruning.checkpoint is " in refusal(checkpoint.read, path)


def test_a_flipped_byte_is_noticed_or_changes_nothing(written):
    path, _ = written
    with open(path, "rb") as file:
        content = file.read()
    expected, noticed = repr(bits(checkpoint.read(path))), 0
    places = range(0, len(content), max(1, len(content) // 300))
    for place in places:
        with open(path, "wb") as file:
            file.write(content[:place] + bytes([content[place] ^ 1]) + content[place + 1:])
        try:
            assert repr(bits(checkpoint.read(path))) == expected  # in the padding between a file's parts
        except checkpoint.UserError:
            noticed += 1
    assert noticed > len(places) / 2


@pytest.mark.parametrize("save", [
    lambda what, path: torch.save(what, path),
    lambda what, path: torch.save(what, path, _use_new_zipfile_serialization=False),
    lambda what, path: pickle.dump(what, open(path, "wb"))], ids=["torch", "old torch", "pickle"])
def test_a_checkpoint_of_another_kind_is_refused_and_never_run(written, tmp_path, save):
    path, trap = written[0], str(tmp_path / "trap")
    saved = torch.load(path, weights_only=True)
    for what in [Hostile(trap), {**saved, "seen": Hostile(trap)},
                 {**saved, "text": f"__import__('os').mkdir({trap!r})"}, [1], {}, torch.zeros(3), "epoch",
                 {**saved, "text": "{'epoch': 1}"}, {"weights": saved["weights"]}]:
        save(what, path)
        assert "withPruning.checkpoint is " in refusal(checkpoint.read, path)
    assert not os.path.exists(trap)
