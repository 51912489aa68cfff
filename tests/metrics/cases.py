"""Random attention of every shape the library meets, and every statistic recomputed cell by cell with plain loops."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from atlas.metrics import Pairs, RowPlan, causal_mask

WORDS = np.array(["the", "cat", "saw", "a", "dog", ",", "and", "ran", "."])
POS = {
    "the": "DET",
    "a": "DET",
    "and": "CCONJ",
    ",": "PUNCT",
    ".": "PUNCT",
    "cat": "NOUN",
    "dog": "NOUN",
    "saw": "VERB",
    "ran": "VERB",
}

CASES = ("bidirectional", "causal", "causal_bos", "window", "padded", "sink", "cross", "cross_masked")


def token_table(n, rng, *, start=True, end=True):
    """Tokens with repeats; optionally [CLS] in front and [SEP] behind."""
    token = rng.choice(WORDS, n).astype(object)
    special = np.zeros(n, dtype=bool)
    if start and n:
        token[0], special[0] = "[CLS]", True
    if end and n > 1:
        token[-1], special[-1] = "[SEP]", True
    entity = ["PER" if word == "cat" else None for word in token]
    return pd.DataFrame({"token": token, "special": special, "pos": [POS.get(word) for word in token], "entity": entity})


class Case:
    """One layer of random attention with its mask, tokens and plan."""

    def __init__(self, name, seed=0, n=14, heads=3):
        rng = np.random.default_rng(seed)
        self.name, self.heads = name, heads
        self.n_queries = n
        self.same_axis = not name.startswith("cross")
        self.n_keys = n if self.same_axis else n - 4
        causal = name in {"causal", "causal_bos", "window"}
        self.tokens = token_table(n, rng, start=not causal or name == "causal_bos", end=not causal)
        self.key_tokens = self.tokens if self.same_axis else token_table(self.n_keys, rng)
        self.visible = self._mask(name, n)
        self.special = self.key_tokens["special"].to_numpy()
        self.ids = pd.factorize(self.tokens["token"])[0]
        self.causal = causal
        self.pairs = Pairs.build(self.ids, self.special, causal=causal) if self.same_axis else None
        self.plan = RowPlan.build(self.visible, n, self.n_keys, special=self.special, same_axis=self.same_axis, pairs=self.pairs)
        scores = 2.0 * rng.standard_normal((heads, n, self.n_keys))
        self.scores = scores if self.visible is None else np.where(self.visible, scores, -np.inf)
        sink = rng.standard_normal((heads, 1)) + 1.0 if name == "sink" else np.full((heads, 1), -np.inf)
        peak = np.maximum(self.scores.max(-1), -1e9)
        total = np.exp(self.scores - peak[..., None]).sum(-1) + np.exp(sink - peak)
        # A row that may see nothing: whatever its log-sum-exp is said to be, its weights are 0.
        self.lse = np.log(np.maximum(total, 1e-300)) + peak
        self.weights = np.where(np.isinf(self.scores), 0.0, np.exp(self.scores - self.lse[..., None]))

    def _mask(self, name, n):
        if name in {"causal", "causal_bos"}:
            return causal_mask(n)
        if name == "window":
            return causal_mask(n, window=4)
        if name == "padded":
            real = np.arange(n) < n - 3
            return real[:, None] & real[None, :]
        if name == "cross_masked":
            return np.broadcast_to(np.arange(self.n_keys) < self.n_keys - 2, (n, self.n_keys)).copy()
        return None

    def sees(self, i, k):
        return self.visible is None or bool(self.visible[i, k])

    def keys(self, i):
        return [k for k in range(self.n_keys) if self.sees(i, k)]


def row_by_loops(case, head, i):
    """All statistics of one row; NaN where it has nothing to measure."""
    p, keys = case.weights[head, i], case.keys(i)
    token, special = list(case.tokens["token"]), list(case.special)
    out = {}
    mass = sum(p[k] for k in keys)
    known = bool(keys)
    out["mass"] = mass if known else math.nan
    shares = [p[k] / mass for k in keys if p[k] > 0]
    out["entropy"] = -sum(share * math.log(share) for share in shares) if known else math.nan
    out["maximum"] = max((p[k] for k in keys), default=math.nan)
    out["square_sum"] = sum(p[k] ** 2 for k in keys) if known else math.nan
    out["below_uniform"] = sum(p[k] < 1 / len(keys) for k in keys) if known else math.nan
    marked = [k for k in keys if special[k]]
    out["special"] = sum(p[k] for k in marked) if marked else math.nan
    if not case.same_axis:
        return out
    for name, offset in (("self", 0), ("previous", -1), ("next", 1)):
        out[name] = p[i + offset] if i + offset in keys else math.nan
    out["distance"] = sum(p[k] * abs(i - k) for k in keys) / mass if known else math.nan
    far = [k for k in keys if abs(i - k) >= 5]
    out["long_range"] = sum(p[k] for k in far) if far else math.nan
    follow, same = [], []
    for k in keys:
        earlier = k - 1
        if 0 <= earlier < i and token[earlier] == token[i] and not (special[i] or special[k]):
            follow.append(k)
        if k < i and token[k] == token[i] and not special[i] and not (case.causal and k == 0):
            same.append(k)
    out["induction"] = sum(p[k] for k in follow) if follow else math.nan
    out["duplicate"] = sum(p[k] for k in same) if same else math.nan
    return out


def head_by_loops(case, head):
    """The metrics of one head, from the definitions."""
    rows = [i for i in range(case.n_queries) if len(case.keys(i)) > 1]
    each = {i: row_by_loops(case, head, i) for i in rows}
    cells = [case.weights[head, i, k] for i in rows for k in case.keys(i)]

    def mean(values):
        values = [value for value in values if not math.isnan(value)]
        return sum(values) / len(values) if values else math.nan

    def on(keys):
        seeing = [i for i in rows if any(k in keys for k in case.keys(i))]
        return mean([sum(case.weights[head, i, k] for k in case.keys(i) if k in keys) for i in seeing])

    table = case.key_tokens
    plain = [k for k in range(case.n_keys) if not case.special[k]]
    pos, token = list(table["pos"]), list(table["token"])
    out = {name: mean([each[i][name] for i in rows]) for name in ("entropy", "special")}
    if case.same_axis:
        for name in ("self", "previous", "next", "distance", "long_range", "induction", "duplicate"):
            out[name] = mean([each[i][name] for i in rows])
    out["entropy_norm"] = mean([each[i]["entropy"] / math.log(len(case.keys(i))) for i in rows])
    out["confidence_max"] = max(each[i]["maximum"] for i in rows)
    out["confidence_mean"] = mean([each[i]["maximum"] for i in rows])
    out["sparsity"] = sum(each[i]["below_uniform"] for i in rows) / len(cells)
    out["uniformity"] = float(np.std(cells))
    out["median"] = float(np.median(cells))
    out["balance"] = on([0]) if case.special[0] else math.nan
    out["first_key"] = on([0])
    out["punctuation"] = on([k for k in plain if token[k] in {",", "."}])
    out["function_words"] = on([k for k in plain if pos[k] in {"DET", "CCONJ"}])
    out["content_words"] = on([k for k in plain if pos[k] in {"NOUN", "VERB"}])
    out["entities"] = on([k for k in plain if token[k] == "cat"])
    out["learned_sink"] = 1 - mean([each[i]["mass"] for i in rows])
    return out
