"""How the scripts of this folder load a model and count its loss: the one definition behind every golden here.

Not run by itself. Labels stand beside the ids they name, -100 where nothing is learned (transformers' convention);
position t is predicted from the positions before it, so a label at position 0 is never used, and none is stored there.
"""
import json

import torch
import transformers
from torch.nn import functional
from transformers import AutoModelForCausalLM

IGNORED = -100


def load(folder, dtype=torch.float32):
    """The model of a Hugging Face folder, in evaluation mode, with the plainest attention there is."""
    torch.set_num_threads(2)
    # Adapters are checked under old releases too, where the argument has its old name.
    named = "dtype" if int(transformers.__version__.split(".")[0]) >= 5 else "torch_dtype"
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", **{named: dtype}).eval()


def logits_of(model, ids):
    """Logits [positions, vocabulary] of one sequence by itself: no padding, no neighbour."""
    return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]


def label_count(labels):
    return sum(label != IGNORED for label in labels[1:])


def summed_loss(model, ids, labels):
    """Sum of the cross-entropies over the labelled positions of one sequence."""
    return functional.cross_entropy(logits_of(model, ids)[:-1], torch.tensor(labels[1:]), ignore_index=IGNORED, reduction="sum")


def readable_json(value, margin=""):
    """JSON, indented, whose innermost lists each keep to one line."""
    inner = margin + "  "
    if isinstance(value, dict) and value:
        rows = [f"{json.dumps(key)}: {readable_json(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(inner + row for row in rows) + "\n" + margin + "}"
    if isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        return "[\n" + ",\n".join(inner + readable_json(item, inner) for item in value) + "\n" + margin + "]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def write_json(path, value):
    path.write_text(readable_json(value) + "\n", encoding="utf-8")
