"""Words, sentences and grammar, aligned to tokens by character offsets."""
