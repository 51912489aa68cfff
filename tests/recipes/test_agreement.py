from __future__ import annotations

import itertools
import random
import re
from functools import partial

import pytest
import torch

from assets.recipes import agreement, causal_batches, language_models, streams, vocabularies
from assets.recipes.grammar import plural
from assets.recipes.lexicon import CLASSES, OCCUPATIONS, PEOPLE
from assets.recipes.minimal_pairs import pairs
from assets.recipes.training import CHECKPOINTS, LAST_CHECKPOINTS, Plan, newest_checkpoint

ONE = {*OCCUPATIONS, *PEOPLE["f"], *PEOPLE["m"], *itertools.chain.from_iterable(CLASSES.values())}
MANY = {plural(noun) for noun in ONE}
SINGULAR, PLURAL = {"is", "was", "has", "does"}, {"are", "were", "have", "do"}
SIZE = 600


def subject(sentence):
    """The longest noun a sentence begins with."""
    words = sentence.removeprefix("The ").split()
    return max((" ".join(words[:length]) for length in (1, 2) if " ".join(words[:length]) in ONE | MANY), key=len)


def sentences(count):
    draw = random.Random(5)
    return [agreement.sentence(draw) for _ in range(count)]


def test_the_last_verb_agrees_with_the_first_noun_and_not_with_the_nearest():
    telling, misled = 0, 0
    for sentence in sentences(2000):
        many = subject(sentence) in MANY
        words = re.findall(r"\w+", sentence)
        verbs = [(place, word) for place, word in enumerate(words) if word in SINGULAR | PLURAL]
        if not verbs or words[verbs[-1][0] - 1] in {"who", "that"}:
            continue  # the verb that ends it is another
        place, verb = verbs[-1]
        assert (verb in PLURAL) == many, sentence
        telling += 1
        nearest = [word for word in words[1:place] if word in ONE | MANY][-1]
        misled += (nearest in MANY) != many
    assert telling > 1200
    assert 0.3 < misled / telling < 0.7  # the nearest noun tells nothing, neither way


def test_no_sentence_is_in_a_frame_of_the_minimal_pairs():
    adjective = r"(old|small|beautiful|dark|strange|large|dangerous|empty|tired|happy|ready|sorry|silent|wise|young|angry)"
    frame = re.compile(rf"(is|are|was|were) (very )?{adjective}\.")
    assert all(
        frame.search(pair.good) for pair in pairs(per_kind=20) if pair.phenomenon == "agreement" and "been" not in pair.good
    )
    assert not [sentence for sentence in sentences(2000) if frame.search(sentence)]


def test_texts_depend_on_their_seed_alone():
    assert list(agreement.texts(1, 5)) == list(agreement.texts(1, 5)) != list(agreement.texts(2, 5))


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    return prepared(vocabularies.byte_pairs, 0, tmp_path_factory.mktemp("stories"))


@pytest.fixture(scope="module")
def ready_for_bert(tmp_path_factory):
    return prepared(vocabularies.word_piece, 3, tmp_path_factory.mktemp("stories"))


def prepared(make, separator, folder):
    texts = list(streams.story_texts(8, 300))
    tokenizer = make(texts, SIZE)
    stream = streams.Stream(streams.encode(iter(texts), tokenizer, separator))
    stories = streams.StoryStream(folder, tokenizer, separator, documents=300)
    return language_models.Prepared(tokenizer, stories, [stream, stream], {})


def test_the_last_stretch_reads_agreement_and_goes_on_in_the_stories(ready, tmp_path):
    far = streams.StoryStream(tmp_path, ready.tokenizer, 0, documents=300, texts=agreement.texts, name="agreement")
    before = causal_batches.batch_rule(ready.stories, ready.corpora, SIZE, 1)
    after = causal_batches.batch_rule(ready.stories, [far, *ready.corpora], SIZE, 2, causal_batches.LAST_SHARES)
    unit = causal_batches.TOKENS_PER_STEP // 16
    step = 4700
    told = [rule(at)["input_ids"].flatten()[: 6 * unit] for rule, at in ((before, step), (before, step + 1), (after, step + 1))]
    assert torch.equal(told[1], told[2])
    assert not torch.equal(told[0], told[1])
    here = after(step)["input_ids"].flatten()[6 * unit : 9 * unit]
    long = (step - causal_batches.FULL) // causal_batches.LONG_EVERY  # each of these read four sixteenths instead of three
    assert here.tolist() == far.take((3 * (step - causal_batches.DRILLS) + long) * unit, 3 * unit).tolist()
    assert "near the" in ready.tokenizer.decode(here)


@pytest.mark.parametrize("name", [language_models.GPT, language_models.BERT])
def test_a_run_has_two_stretches_and_the_second_begins_with_the_weights_of_the_first(
    name, ready, ready_for_bert, tmp_path, monkeypatch
):
    train, kind, reads = {
        language_models.GPT: (language_models.train_gpt, language_models.GPT2LMHeadModel, ready),
        language_models.BERT: (language_models.train_bert, language_models.BertForPreTraining, ready_for_bert),
    }[name]
    monkeypatch.setattr(language_models, "prepare", lambda *_: reads)
    # What is shown is the order of the stretches: a small model will do, and of 12,000 texts these few steps read a handful.
    for part, small in (("LAYERS", 1), ("HEADS", 2), ("WIDTH", 16), ("StoryStream", partial(streams.StoryStream, documents=300))):
        monkeypatch.setattr(language_models, part, small)
    monkeypatch.setattr(language_models, "LAST_RATE", 0.0)  # so that what it began with can be seen at its end
    plan = Plan(steps=6, learning_rate=1e-3, warmup_steps=1, decay_share=0.25)
    lines = []
    first = train(tmp_path, 0.0, "cpu", plan, lines.append, [tmp_path])
    assert (first.step, first.finished) == (1, False)
    outcome = train(tmp_path, None, "cpu", plan, lines.append, [tmp_path])
    assert (outcome.step, outcome.finished) == (6, True)
    run = tmp_path / name
    assert {folder.name for folder in run.iterdir() if folder.is_dir()} >= {CHECKPOINTS, LAST_CHECKPOINTS}
    assert newest_checkpoint(run) == run / LAST_CHECKPOINTS / "checkpoint-1"
    kept = [
        kind.from_pretrained(folder).state_dict()
        for folder in (run / CHECKPOINTS / "checkpoint-5", run / LAST_CHECKPOINTS / "checkpoint-1")
    ]
    assert all(torch.equal(kept[0][part], kept[1][part]) for part in kept[0])
    assert (tmp_path / "final" / name / "model.safetensors").exists()
    again = train(tmp_path, None, "cpu", plan, lines.append, [tmp_path])
    assert (again.step, again.finished) == (6, True)
