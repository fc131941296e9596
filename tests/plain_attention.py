"""FlashAttention's two functions as `apo_bench.models.packed_attention` uses them, by their definition and in float64."""

import torch


def attend(query, key, value, spans, is_causal, scale):
    out = torch.zeros_like(query)
    sums = torch.full((query.shape[1], len(query)), -torch.inf)
    for queries, keys in _spans(spans):
        heads, logsumexp = _attention(query[queries].double(), key[keys].double(), value[keys].double(), is_causal, scale)
        out[queries], sums[:, queries] = heads.to(out.dtype), logsumexp.float()
    return out, sums


def attend_backward(grad, query, key, value, out, sums, spans, is_causal, scale):
    """With the probabilities that `sums` gives, as the kernel: dS = P * (dP - sum of dO * O)."""
    grads = [torch.zeros_like(states) for states in (query, key, value)]
    groups = query.shape[1] // key.shape[1]
    for queries, keys in _spans(spans):
        q, d_out, o = (states[queries].double().transpose(0, 1) for states in (query, grad, out))
        k, v = (states[keys].double().transpose(0, 1).repeat_interleave(groups, 0) for states in (key, value))
        scores = (q @ k.mT * scale).masked_fill(_hidden(q.shape[1], k.shape[1], is_causal), -torch.inf)
        chances = (scores - sums[:, queries, None].double()).exp()
        d_scores = chances * (d_out @ v.mT - (d_out * o).sum(-1, keepdim=True)) * scale
        parts = d_scores @ k, d_scores.mT @ q, chances.mT @ d_out
        for total, part, at in zip(grads, parts, (queries, keys, keys), strict=True):
            heads = part.unflatten(0, (total.shape[1], -1)).sum(1)
            total[at] += heads.transpose(0, 1).to(total.dtype)
    return tuple(grads)


def _attention(query, key, value, is_causal, scale):
    groups = query.shape[1] // key.shape[1]
    q, k, v = query.transpose(0, 1), *(states.transpose(0, 1).repeat_interleave(groups, 0) for states in (key, value))
    scores = (q @ k.mT * scale).masked_fill(_hidden(q.shape[1], k.shape[1], is_causal), -torch.inf)
    return (scores.softmax(-1) @ v).transpose(0, 1), scores.logsumexp(-1)


def _hidden(num_queries, num_keys, is_causal):
    hidden = torch.ones(num_queries, num_keys, dtype=torch.bool)
    return hidden.triu(1) if is_causal else ~hidden


def _spans(spans):
    begins = [bound.tolist() for bound in (spans.queries, spans.keys)]
    for number in range(len(begins[0]) - 1):
        queries, keys = (slice(bounds[number], bounds[number + 1]) for bounds in begins)
        if spans.keys_used is not None:
            keys = slice(keys.start, keys.start + int(spans.keys_used[number]))
        if queries.start < queries.stop:
            yield queries, keys
