from __future__ import annotations

import itertools
import lzma

import numpy as np
import pytest
import torch

from assets.recipes import causal_batches, corpus, drills, masked_batches, streams, vocabularies
from assets.recipes.language_models import INITIAL_SPREAD, bert_model, causal_loss, gpt_model, masked_loss, sinusoids
from assets.recipes.places import HELD_OUT_EVERY, is_held_out, work_folder
from assets.recipes.training import IGNORE

SIZE = 600


@pytest.fixture(scope="module")
def texts():
    return list(streams.story_texts(8, 400))


@pytest.fixture(scope="module")
def gpt(texts):
    return vocabularies.byte_pairs(texts, SIZE)


@pytest.fixture(scope="module")
def bert(texts):
    return vocabularies.word_piece(texts, SIZE)


def test_packing_loses_no_token_and_adds_one_separator_a_document(gpt, texts):
    stream = streams.encode(iter(texts), gpt, separator=0)
    single = [gpt(text)["input_ids"] for text in texts]
    assert list(stream) == list(itertools.chain.from_iterable([*ids, 0] for ids in single))
    parts = np.split(stream, np.flatnonzero(stream == 0) + 1)[:-1]
    assert [gpt.decode(part[:-1]) for part in parts] == texts


def test_a_stream_goes_round_and_an_empty_one_is_refused():
    stream = streams.Stream(np.arange(10, dtype=np.uint16))
    assert list(stream.take(7, 6)) == [7, 8, 9, 0, 1, 2]
    assert list(stream.take(1_000_007, 2)) == [7, 8]
    with pytest.raises(ValueError, match="no text was left"):
        streams.Stream(np.empty(0, np.uint16))


def test_story_shards_join_without_a_gap_and_are_read_back_from_disk(gpt, tmp_path):
    made = streams.StoryStream(tmp_path, gpt, 0, documents=40)
    length = made.shard_tokens
    across = made.take(length - 50, 100)
    assert list(across) == [*made.take(length - 50, 50), *made.take(length, 50)]
    expected = streams.encode(streams.story_texts(1, 40), gpt, 0)[:50]
    assert list(across[50:]) == list(expected)
    again = streams.StoryStream(tmp_path, gpt, 0, documents=40)
    assert list(again.take(length - 50, 100)) == list(across)


def test_a_write_that_broke_off_is_made_again(tmp_path):
    path = tmp_path / "shard.npy"

    def broken():
        raise OSError(28, "the disk is full")

    with pytest.raises(OSError, match="disk"):
        streams.cached(path, broken)
    assert list(streams.cached(path, lambda: np.arange(3))) == [0, 1, 2]


def test_causal_batches_cover_every_text_token_once(gpt, texts):
    stream = streams.Stream(streams.encode(iter(texts), gpt, 0))
    rule = causal_batches.batch_rule(stream, [stream], SIZE, seed=1, shares=(causal_batches.Shares(12, 0, (4,)),) * 2)
    lengths, read = set(), []
    for step in range(causal_batches.FULL - 3, causal_batches.FULL + 8):
        batch = rule(step)
        lengths.add(batch["input_ids"].shape[1])
        assert batch["input_ids"].numel() == causal_batches.TOKENS_PER_STEP
        assert torch.equal(batch["input_ids"], batch["labels"])
        share = 12 * causal_batches.TOKENS_PER_STEP // 16
        read.extend(batch["input_ids"].flatten()[:share].tolist())
    assert lengths == {128, 256, causal_batches.LONG}
    assert read == stream.take((causal_batches.FULL - 3 - causal_batches.DRILLS) * share, len(read)).tolist()


def test_rounds_repeat_and_score_only_what_can_be_foreseen():
    draw = np.random.default_rng(0)
    for _ in range(50):
        row, labels = drills.rounds(draw, 256, SIZE)
        period = int((labels == IGNORE).sum()) - 1
        assert drills.SHORTEST_PERIOD <= period <= 128
        assert np.array_equal(row[period:], row[:-period])
        assert np.array_equal(labels[period + 1 :], row[period + 1 :])


def test_coined_words_score_what_followed_the_same_tokens_before():
    draw = np.random.default_rng(0)
    many = 10**6  # hardly a token in two words, so that what comes next is told by the token before
    shares = []
    for _ in range(50):
        row, labels = drills.coined_words(draw, 128, many)
        told = np.flatnonzero(labels != IGNORE)
        assert np.array_equal(labels[told], row[told])
        seen = [(row[place - 1], row[place]) in itertools.pairwise(row[:place]) for place in told]
        assert all(seen)
        shares.append(len(told) / len(row))
        assert len(np.unique(row)) <= 128 // drills.TOKENS_A_WORD * drills.LONGEST_WORD
    assert 0.3 < np.mean(shares) < 0.7


def test_the_alphabet_of_the_drills_grows_to_the_vocabulary():
    sizes = [drills.alphabet(step, SIZE) for step in range(causal_batches.DRILLS)]
    assert sizes[0] == sizes[drills.ALONE] == drills.FIRST_ALPHABET
    assert sizes[drills.ALONE + drills.DOUBLED_EVERY] == 2 * drills.FIRST_ALPHABET
    assert sizes == sorted(sizes)
    assert sizes[-1] == SIZE
    assert drills.alphabet(causal_batches.DRILLS - 1, 8000) == 8000
    lengths = set()
    for step in (0, 500, drills.ALONE + 1):
        ids, labels, among = drills.batch(1, step, causal_batches.TOKENS_PER_STEP, SIZE)
        assert ids.size == causal_batches.TOKENS_PER_STEP
        lengths.add(ids.shape[1])
        assert 0 < ids.min() <= ids.max() < among
        assert set(np.unique(labels)) <= {IGNORE, *np.unique(ids)}
    assert lengths == {length for _, length in drills.LENGTHS}


def decoder_and_tokens():
    ids = torch.randint(0, SIZE, (3, 40), generator=torch.Generator().manual_seed(0))
    return gpt_model(SIZE), ids, torch.where(torch.arange(40) % 3 == 0, ids, IGNORE)


def asked(ids, labels, among=SIZE, before=0.0):
    return {"input_ids": ids, "labels": labels, "among": torch.tensor(among), "before": torch.tensor(before)}


@torch.no_grad()
def test_the_loss_of_a_decoder_is_the_librarys_where_every_token_can_come_next():
    model, ids, labels = decoder_and_tokens()
    torch.testing.assert_close(causal_loss(model, asked(ids, labels)), model(input_ids=ids, labels=labels).loss)
    ids, labels = ids // 2, torch.where(labels < 0, labels, ids // 2)
    scores, told = model(input_ids=ids).logits[:, :-1, : SIZE // 2], labels[:, 1:] >= 0
    expected = torch.nn.functional.cross_entropy(scores[told], ids[:, 1:][told])
    torch.testing.assert_close(causal_loss(model, asked(ids, labels, SIZE // 2)), expected)


@torch.no_grad()
def test_in_the_drills_the_first_layer_is_asked_for_the_token_before():
    model, ids, labels = decoder_and_tokens()
    more = causal_loss(model, asked(ids, labels, before=0.5)) - causal_loss(model, asked(ids, labels))
    states = model(input_ids=ids, output_hidden_states=True).hidden_states[1]
    scores = (states - states.mean(-1, keepdim=True)) / (states.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    chances = (scores @ model.lm_head.weight.T).log_softmax(-1)
    expected = -np.mean([float(chances[row, at, ids[row, at - 1]]) for row in range(3) for at in range(1, 40)])
    assert abs(float(more) - 0.5 * expected) < 1e-4


def test_a_step_to_the_side_is_one_rotation_of_the_first_positions():
    places = sinusoids(64, 32).double()
    assert torch.allclose(gpt_model(SIZE).transformer.wpe.weight, sinusoids(512, 128))
    rotation = torch.linalg.lstsq(places[:-1], places[1:]).solution
    torch.testing.assert_close(places[:-1] @ rotation, places[1:], atol=1e-4, rtol=0)
    assert abs(float(places.pow(2).mean().sqrt()) - INITIAL_SPREAD) < 1e-3


def test_a_span_of_the_text_comes_back():
    draw = np.random.default_rng(0)
    for _ in range(50):
        text = draw.integers(0, SIZE, 256)
        copied = causal_batches.repeated_span(draw, text)
        changed = np.flatnonzero(copied != text)
        assert len(changed)
        windows = np.lib.stride_tricks.sliding_window_view(copied, causal_batches.SHORTEST_SPAN)
        assert len(np.unique(windows, axis=0)) < len(windows)


def test_batches_depend_on_the_step_alone(gpt, bert, texts):
    for tokenizer, make in (
        (gpt, lambda stream: causal_batches.batch_rule(stream, [stream, stream], SIZE, seed=1)),
        (bert, lambda stream: masked_batches.batch_rule(stream, [stream, stream], bert, seed=1)),
    ):
        stream = streams.Stream(streams.encode(iter(texts), tokenizer, 0 if tokenizer is gpt else tokenizer.sep_token_id))
        one, other = make(stream), make(stream)
        for _ in range(3):
            one(0)
        for step in (5, 2, causal_batches.DRILLS + 3):
            first, second = one(step), other(step)
            assert first.keys() == second.keys()
            assert all(torch.equal(first[key], second[key]) for key in first)
        assert not torch.equal(one(0)["input_ids"], one(4)["input_ids"])


def test_masked_rows_are_framed_and_segments_change_at_the_separator(bert, texts):
    stream = streams.Stream(streams.encode(iter(texts), bert, bert.sep_token_id))
    rule = masked_batches.batch_rule(stream, [stream, stream], bert, seed=2)
    follows = []
    for step in (0, 1500, 2500, 2501, 2502, 2503):
        length, batch = masked_batches.row_length(step), rule(step)
        original = torch.where(batch["labels"] >= 0, batch["labels"], batch["input_ids"])
        assert original.shape == (masked_batches.TOKENS_PER_STEP // length, length)
        assert (original[:, 0] == bert.cls_token_id).all()
        assert ((original == bert.sep_token_id).sum(1) == (1 if length == masked_batches.SINGLE else 2)).all()
        assert ((original == bert.pad_token_id) == (batch["attention_mask"] == 0)).all()
        for row, segments in zip(original, batch["token_type_ids"], strict=True):
            separators = torch.where(row == bert.sep_token_id)[0]
            assert (segments[: separators[0] + 1] == 0).all()
            if length != masked_batches.SINGLE:
                assert (segments[separators[0] + 1 : separators[1] + 1] == 1).all()
        told = (batch["labels"] >= 0).float().sum() / batch["attention_mask"].sum()
        assert 0.18 < told < 0.30  # a quarter of the words, none of the marks
        follows += [value for value in batch["next_sentence_label"].tolist() if value >= 0]
    assert 0.3 < sum(follows) / len(follows) < 0.7


def test_the_sparse_word_loss_equals_the_full_one(bert, texts):
    stream = streams.Stream(streams.encode(iter(texts), bert, bert.sep_token_id))
    made = masked_batches.batch_rule(stream, [stream, stream], bert, seed=2)(1)
    batch = {key: value[:4] if value.ndim else value for key, value in made.items()}
    model = bert_model(len(bert)).eval()
    with torch.no_grad():
        full = model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], token_type_ids=batch["token_type_ids"]
        ).prediction_logits
        expected = torch.nn.functional.cross_entropy(full.flatten(0, 1), batch["labels"].flatten(), ignore_index=-100)
        assert torch.allclose(masked_loss(model, batch), expected, atol=1e-5)


def test_looking_at_words_has_a_price_for_some_steps(bert, texts):
    stream = streams.Stream(streams.encode(iter(texts), bert, bert.sep_token_id))
    free = masked_batches.batch_rule(stream, [stream, stream], bert, seed=2)
    priced = masked_batches.batch_rule(stream, [stream, stream], bert, seed=2, priced_from=1)
    (_, high), (later, low), (end, none) = masked_batches.REST
    prices = [float(priced(step)["rest"]) for step in (1, later, later + 1, end, end + 1)]
    assert prices == pytest.approx([high, high, low, low, none])
    assert not any(float(free(step)["rest"]) for step in (0, 1, later + 1))
    model = bert_model(len(bert)).eval()
    batch = {key: value[:4] if value.ndim else value for key, value in priced(1).items()}
    with torch.no_grad():
        price = float(masked_loss(model, batch)) - float(masked_loss(model, {**batch, "rest": free(1)["rest"]}))
    model.set_attn_implementation("eager")
    with torch.no_grad():
        found = model.bert(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"], output_attentions=True)
    on_words = [
        float(layer[row, head, query, batch["input_ids"][row] != bert.sep_token_id].sum())
        for layer in found.attentions
        for row in range(4)
        for query in torch.where(batch["attention_mask"][row] == 1)[0].tolist()
        for head in range(layer.shape[1])
    ]
    assert price == pytest.approx(high * sum(on_words) / len(on_words), abs=1e-4)
    assert 0 < price < high


def test_the_first_steps_of_the_encoder_have_short_rows_only():
    """Each stage goes round its lengths; the last one, with the longest rows, is where nearly all of a run is."""
    lengths = [masked_batches.row_length(step) for step in range(2600)]
    assert set(lengths[:1500]) == {masked_batches.SINGLE}
    assert lengths[1500:1504] == [64, 32, 64, 32]
    assert lengths[2500:2508] == [128, 32, 128, 256] * 2


def test_held_out_documents_are_chosen_by_their_words():
    documents = [f"Document number {number} has its own words." for number in range(20_000)]
    share = sum(map(is_held_out, documents)) / len(documents)
    assert share == pytest.approx(1 / HELD_OUT_EVERY, rel=0.2)
    assert is_held_out(documents[3]) == is_held_out(documents[3])


def test_the_plainest_pieces_of_any_text_are_kept(tmp_path):
    plain = "The cat sat on the mat. The dog ran to the cat. They were glad. " * 40
    hard = "Notwithstanding epistemological incommensurability, historiography problematizes teleological metanarratives, " * 20
    file = tmp_path / "childrens_books.txt.xz"
    with lzma.open(file, "wt", encoding="utf-8") as out:
        out.write(f"{plain}\n\n{hard}\n\nProduced by Somebody and the Online Distributed Proofreading Team")
    ((path, pieces),) = corpus.plainest([file])
    assert path == file
    assert [piece.text for piece in pieces] == [plain.strip()]


def test_the_work_folder_is_named_or_in_the_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("ATLAS_WORK", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert work_folder() == tmp_path / "attention-atlas" / "recipes"
    monkeypatch.setenv("ATLAS_WORK", str(tmp_path / "mine"))
    assert work_folder() == tmp_path / "mine"
    assert work_folder(tmp_path / "given") == tmp_path / "given"


def test_asides_and_what_they_leave_behind_are_cleaned_away():
    assert corpus.clean("Strabo (; 64 BC) was “born” [1] in _Pontus_ [[note]] .") == 'Strabo (64 BC) was "born" in Pontus.'
    assert corpus.clean("bitumen (), is  a [see: x] sticky thing*") == "bitumen, is a sticky thing"
