"""Files to examples, examples to batches."""

from weft.data.batching import batches
from weft.data.ragged import Ragged
from weft.data.readers import Pair, read_lines, read_pairs, read_tagged, read_texts, require_examples, texts
from weft.data.splits import hold_out, hold_out_labelled

__all__ = ["Pair", "Ragged", "batches", "hold_out", "hold_out_labelled", "read_lines", "read_pairs", "read_tagged",
           "read_texts", "require_examples", "texts"]
