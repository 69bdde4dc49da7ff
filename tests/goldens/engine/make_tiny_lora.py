# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.15.0", "transformers==5.23.0", "peft==0.21.2", "safetensors==0.8.0"]
# ///
"""A PEFT LoRA on the tiny model: logits, loss, every gradient, and three optimizer steps in several settings.

    python make_tiny_lora.py MODEL_DIR OUT_DIR

Writes OUT_DIR/tiny_adapter/ (the adapter before any step, by PEFT's save_pretrained), tiny_lora.safetensors and
tiny_lora.json. KEY below is PEFT's tensor name, `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`.

    seqN.ids I64 [n], seqN.labels I64 [n]    the batch; labels beside their ids, -100 where nothing is learned
    seqN.logits F32 [n, 512]                 of the model with the adapter before any step
    loss F32 []                              sum of cross-entropies over all sequences / number of labelled positions
    grad.KEY F32                             its gradient in each factor
    V.loss, V.grad_norm, V.lr  F32 [3]       of variant V per step: loss before the update, norm before clipping
    V.stepK.KEY F32                          each factor after step K = 1, 2, 3

A step: loss and gradient over the step's sequences, clip_grad_norm_, AdamW, then the schedule moves on.
"""
import json
import pathlib
import shutil
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

from reference_model import IGNORED, label_count, load, logits_of, summed_loss, write_json

SEED = 119
RANK, ALPHA = 4, 8
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
A_SPREAD, B_SPREAD = 0.08, 0.08
STEPS = 3
# AdamW divides each gradient by its own size, so that an element which is nearly zero carries its rounding error straight
# into the step. The seed is one whose factors stay this close to a float64 run's, relative to the largest element.
ROUNDING_LIMIT = 1e-5
BETAS, EPSILON = (0.9, 0.999), 1e-8
# (length, learned half-open ranges); the last has a gap in the middle of its answer, the first ends unlearned
SEQUENCES = [(9, [(5, 8)]), (14, [(6, 14)]), (23, [(8, 15), (18, 23)])]
ALL = [0, 1, 2]
# `warmup` steps of `schedule` over STEPS. `mixed` is the one that tells apart: three different batches, one clipped
# hard, one not at all, one a little; a rate and a decay large enough to be seen beyond every tolerance.
VARIANTS = {
    "plain": {"lr": 1e-3, "weight_decay": 0.0, "max_norm": 1.0, "schedule": "linear", "warmup": 1, "batches": [ALL] * 3},
    "decay": {"lr": 1e-3, "weight_decay": 0.01, "max_norm": 1.0, "schedule": "linear", "warmup": 1, "batches": [ALL] * 3},
    "clipped": {"lr": 1e-3, "weight_decay": 0.0, "max_norm": 0.05, "schedule": "linear", "warmup": 1, "batches": [ALL] * 3},
    "mixed": {"lr": 1e-2, "weight_decay": 0.1, "max_norm": 3.3, "schedule": "cosine", "warmup": 0, "batches": [[0], [1, 2], [2]]},
}
SCHEDULES = {"linear": get_linear_schedule_with_warmup, "cosine": get_cosine_schedule_with_warmup}


def draw_batch(vocabulary, generator):
    batch = []
    for length, learned in SEQUENCES:
        ids = torch.randint(3, vocabulary, (length,), generator=generator).tolist()
        labels = [IGNORED] * length
        for begin, end in learned:
            labels[begin:end] = ids[begin:end]
        assert labels[0] == IGNORED
        batch.append((ids, labels))
    return batch


def factors(model):
    """The trainable parameters under PEFT's names without the adapter's name, in sorted order."""
    named = {name.replace(".default.", "."): value for name, value in model.named_parameters() if value.requires_grad}
    return dict(sorted(named.items()))


def adapted_model(folder, dtype=torch.float32):
    """The tiny model under a LoRA on all seven linear layers, both factors random."""
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, bias="none", target_modules=TARGETS, task_type="CAUSAL_LM")
    model = get_peft_model(load(folder, dtype), config, autocast_adapter_dtype=False)
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for name, factor in factors(model).items():
            spread = A_SPREAD if ".lora_A." in name else B_SPREAD
            factor.copy_(spread * torch.randn(factor.shape, generator=generator))
    return model.eval()


def save_adapter(model, folder):
    """PEFT's own files, less the model card; the order of the targets and the base's path depend on no machine."""
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    assert sorted(config["target_modules"]) == sorted(TARGETS)
    config["target_modules"] = TARGETS
    config["base_model_name_or_path"] = "tiny-llama"
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def backward(model, rows):
    """Mean loss over the labelled positions of `rows`; its gradient is left in the factors."""
    model.zero_grad(set_to_none=True)
    count = sum(label_count(labels) for _, labels in rows)
    total = 0.0
    for ids, labels in rows:
        loss = summed_loss(model, ids, labels) / count
        loss.backward()
        total += loss.item()
    return total


def check_against_transformers(model, batch, loss):
    """transformers' own loss with num_items_in_batch is the same number."""
    count = sum(label_count(labels) for _, labels in batch)
    with torch.no_grad():
        parts = [model(input_ids=torch.tensor([ids]), labels=torch.tensor([labels]), num_items_in_batch=count).loss for ids, labels in batch]
    assert abs(sum(parts).item() - loss) < 1e-6 * loss, (sum(parts).item(), loss)


def train(folder, batch, setting, clip=True, decay=True, dtype=torch.float32):
    """Runs STEPS steps from the first adapter; returns losses, norms, rates and the factors after each step."""
    model = adapted_model(folder, dtype)
    optimizer = torch.optim.AdamW(
        factors(model).values(), lr=setting["lr"], betas=BETAS, eps=EPSILON, weight_decay=setting["weight_decay"] if decay else 0.0, foreach=False
    )
    schedule = SCHEDULES[setting["schedule"]](optimizer, setting["warmup"], STEPS)
    losses, norms, rates, states = [], [], [], []
    for chosen in setting["batches"]:
        losses.append(backward(model, [batch[index] for index in chosen]))
        limit = setting["max_norm"] if clip else float("inf")
        norms.append(torch.nn.utils.clip_grad_norm_(factors(model).values(), limit, foreach=False).item())
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
        states.append({name: factor.detach().clone() for name, factor in factors(model).items()})
    return losses, norms, rates, states


def farthest(left, right):
    """Largest difference of two sets of factors, over the largest factor."""
    return max((left[name] - right[name]).abs().max().item() for name in left) / max(value.abs().max().item() for value in left.values())


def store_variants(folder, batch, initial, tensors):
    summary = {}
    for name, setting in VARIANTS.items():
        losses, norms, rates, states = train(folder, batch, setting)
        exact = train(folder, batch, setting, dtype=torch.float64)[3]
        rounding = max(farthest(state, true) for state, true in zip(states, exact, strict=True))
        assert rounding < ROUNDING_LIMIT, (name, rounding)
        summary[name] = setting | {"loss": losses, "grad_norm": norms, "lr_used": rates, "rounding_against_float64": float(f"{rounding:.1e}")}
        for key, values in (("loss", losses), ("grad_norm", norms), ("lr", rates)):
            tensors[f"{name}.{key}"] = torch.tensor(values, dtype=torch.float32)
        for step, state in enumerate(states, start=1):
            tensors |= {f"{name}.step{step}.{key}": value for key, value in state.items()}
        if setting["warmup"]:
            assert rates[0] == 0.0 and farthest(initial, states[0]) == 0.0, "the first step of a warm-up moves nothing"
        else:
            without_clip = farthest(states[-1], train(folder, batch, setting, clip=False)[3][-1])
            without_decay = farthest(states[-1], train(folder, batch, setting, decay=False)[3][-1])
            assert without_clip > 1e-3 and without_decay > 1e-3, (without_clip, without_decay, norms)
            summary[name] |= {"moved_by_clipping": float(f"{without_clip:.1e}"), "moved_by_decay": float(f"{without_decay:.1e}")}
    return summary


def main():
    folder, out = (pathlib.Path(argument) for argument in sys.argv[1:3])
    model = adapted_model(folder)
    batch = draw_batch(model.config.vocab_size, torch.Generator().manual_seed(SEED + 1))
    save_adapter(model, out / "tiny_adapter")
    tensors = {}
    for index, (ids, labels) in enumerate(batch):
        with torch.no_grad():
            logits = logits_of(model, ids)
            plain = logits_of(load(folder), ids)
            again = logits_of(PeftModel.from_pretrained(load(folder), out / "tiny_adapter").eval(), ids)
        assert torch.equal(logits, again), "the saved adapter gives other logits"
        assert (logits - plain).abs().max() > 0.1, "the adapter hardly moves the logits"
        tensors |= {f"seq{index}.ids": torch.tensor(ids), f"seq{index}.labels": torch.tensor(labels), f"seq{index}.logits": logits}
    loss = backward(model, batch)
    check_against_transformers(model, batch, loss)
    initial = {name: factor.detach().clone() for name, factor in factors(model).items()}
    assert set(initial) == set(get_peft_model_state_dict(model)), "names differ from PEFT's"
    gradients = {name: factor.grad.clone() for name, factor in factors(model).items()}
    exact = adapted_model(folder, torch.float64)
    exact_loss = backward(exact, batch)
    rounding = {name: ((gradients[name] - factor.grad).norm() / factor.grad.norm()).item() for name, factor in factors(exact).items()}
    assert max(rounding.values()) < 1e-5 and abs(exact_loss - loss) < 1e-6 * loss
    assert all((gradient != 0).all() for gradient in gradients.values()), "a gradient element is zero"
    tensors["loss"] = torch.tensor(loss, dtype=torch.float32)
    tensors |= {f"grad.{name}": gradient for name, gradient in gradients.items()}
    variants = store_variants(folder, batch, initial, tensors)
    save_file({name: value.contiguous() for name, value in tensors.items()}, out / "tiny_lora.safetensors")
    write_json(
        out / "tiny_lora.json",
        {
            "model": "tests/fixtures/tiny-llama",
            "adapter": "tiny_adapter",
            "seed": SEED,
            "dtype": "float32",
            "r": RANK,
            "lora_alpha": ALPHA,
            "target_modules": TARGETS,
            "label_counts": [label_count(labels) for _, labels in batch],
            "loss": loss,
            "grad_norm": torch.stack([gradient.norm() for gradient in gradients.values()]).norm().item(),
            "gradient_rounding_against_float64": float(f"{max(rounding.values()):.1e}"),
            "adamw": {"betas": list(BETAS), "eps": EPSILON},
            "clip": "factor min(1, max_norm / (norm + 1e-6))",
            "variants": variants,
        },
    )


if __name__ == "__main__":
    main()
