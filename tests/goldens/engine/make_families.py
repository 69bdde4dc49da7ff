# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.15.0", "transformers==5.23.0", "peft==0.21.2", "safetensors==0.8.0"]
# ///
"""Logits of the tiny model of each family, and under a PEFT LoRA the loss and every gradient.

    python make_families.py FAMILIES_DIR OUT_DIR

FAMILIES_DIR is tests/fixtures/tiny-families. Writes OUT_DIR/families/NAME/ (the adapter as PEFT saves it) and
OUT_DIR/families/NAME.safetensors; KEY is PEFT's tensor name:

    seqN.ids I64 [n], seqN.labels I64 [n]    N = 0, 1; labels beside their ids, -100 where nothing is learned
    seqN.base F32 [n, 96]                    logits of the model
    seqN.logits F32 [n, 96]                  logits under the adapter
    loss F32 []                              sum of cross-entropies over both sequences / number of labelled positions
    grad.KEY F32                             its gradient in each factor

and OUT_DIR/families.json: the rounding of the oracle itself, and how far the logits move without what makes the family
differ (its rotary scaling, window, biases or head norms), so that no test can pass without it.
"""
import json
import pathlib
import shutil
import sys

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

from reference_model import IGNORED, label_count, load, logits_of, summed_loss, write_json

SEED = 523
RANK, ALPHA = 2, 6
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SPREAD = 0.12
# (length, learned half-open ranges); the second is longer than any window and than LLaMA 3's original context
SEQUENCES = [(11, [(4, 11)]), (40, [(9, 22), (30, 40)])]


def without_rotary_scaling(config):
    config.rope_parameters = {"rope_type": "default", "rope_theta": config.rope_parameters["rope_theta"]}


def without_window(config):
    config.sliding_window = None


def without(ending, value):
    """Sets all parameters whose names end so to one value."""

    def change(model):
        for name, parameter in model.named_parameters():
            if name.endswith(ending):
                parameter.fill_(value)

    return change


# what makes the family differ: a change of the config, or of the weights, that takes it away
DIFFERENCES = {
    "llama-2": (without_rotary_scaling, None),
    "llama-3": (without_rotary_scaling, None),
    "llama-bias": (None, without("proj.bias", 0.0)),
    "mistral": (without_window, None),
    "qwen2": (None, without("proj.bias", 0.0)),
    "qwen3": (None, without("_norm.weight", 1.0)),
}


def draw_batch(vocabulary, generator):
    batch = []
    for length, learned in SEQUENCES:
        ids = torch.randint(3, vocabulary, (length,), generator=generator).tolist()
        labels = [IGNORED] * length
        for begin, end in learned:
            labels[begin:end] = ids[begin:end]
        batch.append((ids, labels))
    return batch


def factors(model):
    """The trainable parameters under PEFT's names without the adapter's name, in sorted order."""
    named = {name.replace(".default.", "."): value for name, value in model.named_parameters() if value.requires_grad}
    return dict(sorted(named.items()))


def adapted_model(folder, dtype=torch.float32):
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, bias="none", target_modules=TARGETS, task_type="CAUSAL_LM")
    model = get_peft_model(load(folder, dtype), config, autocast_adapter_dtype=False)
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for factor in factors(model).values():
            factor.copy_(SPREAD * torch.randn(factor.shape, generator=generator))
    return model.eval()


def save_adapter(model, folder):
    """PEFT's own files, less the model card; the order of the targets and the base's path depend on no machine."""
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["target_modules"], config["base_model_name_or_path"] = TARGETS, folder.name
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def backward(model, batch):
    count = sum(label_count(labels) for _, labels in batch)
    loss = sum(summed_loss(model, ids, labels) for ids, labels in batch) / count
    loss.backward()
    return loss.item()


def moved(folder, ids, base, changes):
    """Largest change of the logits, over the largest logit, when what makes the family differ is taken away."""
    change_config, change_weights = changes
    config = AutoConfig.from_pretrained(folder)
    if change_config:
        change_config(config)
    model = AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32, attn_implementation="eager").eval()
    if change_weights:
        change_weights(model)
    return ((logits_of(model, ids) - base).abs().max() / base.abs().max()).item()


def family(folder, out):
    name = folder.name
    model, base, exact = adapted_model(folder), load(folder), adapted_model(folder, torch.float64)
    batch = draw_batch(base.config.vocab_size, torch.Generator().manual_seed(SEED + 1))
    save_adapter(model, out / name)
    tensors, rounding = {}, 0.0
    with torch.no_grad():
        for index, (ids, labels) in enumerate(batch):
            plain, logits, true = logits_of(base, ids), logits_of(model, ids), logits_of(exact, ids)
            assert (logits - plain).abs().max() > 0.1, "the adapter hardly moves the logits"
            assert plain.std(dim=-1).min() > 0.2, "degenerate logits"
            rounding = max(rounding, ((logits - true).norm() / true.norm()).item())
            tensors |= {f"seq{index}.ids": torch.tensor(ids), f"seq{index}.labels": torch.tensor(labels), f"seq{index}.base": plain, f"seq{index}.logits": logits}
        difference = moved(folder, batch[1][0], tensors["seq1.base"], DIFFERENCES[name]) if name in DIFFERENCES else None
    assert difference is None or difference > 0.05, (name, difference)
    loss, exact_loss = backward(model, batch), backward(exact, batch)
    gradient_rounding = 0.0
    for (key, factor), true in zip(factors(model).items(), factors(exact).values(), strict=True):
        gradient_rounding = max(gradient_rounding, ((factor.grad - true.grad).norm() / true.grad.norm()).item())
        tensors[f"grad.{key}"] = factor.grad
    assert rounding < 3e-6 and gradient_rounding < 3e-5 and abs(loss - exact_loss) < 1e-6 * loss, (name, rounding, gradient_rounding)
    tensors["loss"] = torch.tensor(loss, dtype=torch.float32)
    save_file({key: value.contiguous() for key, value in tensors.items()}, out / f"{name}.safetensors")
    summary = {"loss": loss, "logit_rounding": float(f"{rounding:.1e}"), "gradient_rounding": float(f"{gradient_rounding:.1e}")}
    return summary if difference is None else summary | {"moved_without_its_difference": float(f"{difference:.2g}")}


def main():
    families, out = (pathlib.Path(argument) for argument in sys.argv[1:3])
    folders = sorted(folder for folder in families.iterdir() if (folder / "config.json").exists())
    (out / "families").mkdir(exist_ok=True)
    write_json(
        out / "families.json",
        {
            "models": "tests/fixtures/tiny-families",
            "seed": SEED,
            "dtype": "float32",
            "attention": "eager",
            "r": RANK,
            "lora_alpha": ALPHA,
            "target_modules": TARGETS,
            "families": {folder.name: family(folder, out / "families") for folder in folders},
        },
    )


if __name__ == "__main__":
    main()
