# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.15.0", "transformers==5.23.0", "peft==0.21.2", "safetensors==0.8.0"]
# ///
"""Adapters of every kind that we read, as PEFT saves them, and the logits of the tiny model under each.

    python make_adapters.py MODEL_DIR OUT_DIR

Writes OUT_DIR/adapters/NAME/ for each entry of KINDS (PEFT's own files), and OUT_DIR/adapters.safetensors:

    ids I64 [9]                  the sequence
    NAME.logits F32 [9, 512]     under the adapter as PEFT loads it back from its folder
    dora.merged.MODULE F32       the weight of one module after merge_and_unload
"""
import json
import pathlib
import shutil
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from reference_model import load, logits_of

SEED = 233
LENGTH = 9
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SPREAD = 0.15
MERGED = "model.layers.1.mlp.down_proj"
PATTERNS = {"rank_pattern": {"q_proj": 3, r"layers\.1\.mlp\.down_proj": 1, "up_proj": 4}, "alpha_pattern": {"layers.0.self_attn.q_proj": 7, ".*mlp.up_proj": 1}}
KINDS = {
    "rslora": {"target_modules": ALL, "use_rslora": True},
    "dora": {"target_modules": ALL, "use_dora": True},
    "patterns": {"target_modules": ALL} | PATTERNS,
    "bf16": {"target_modules": ["q_proj", "v_proj"]},
    "layers": {"target_modules": ["self_attn.q_proj", "up_proj"], "layers_to_transform": [1], "layers_pattern": "layers"},
    "regex": {"target_modules": r".*layers\.\d+\.(self_attn\.[qk]_proj|mlp\.down_proj)", "exclude_modules": r".*layers\.1\.mlp.*"},
    "together": {"target_modules": ALL, "exclude_modules": ["o_proj"], "use_rslora": True, "use_dora": True} | PATTERNS,
}


def adapted_model(folder, kind, generator):
    """The tiny model under an adapter whose values are all random; magnitudes are about as long as their rows."""
    model = get_peft_model(load(folder), LoraConfig(r=2, lora_alpha=4, task_type="CAUSAL_LM", **KINDS[kind]))
    with torch.no_grad():
        for name, value in sorted(model.named_parameters()):
            if "lora_magnitude_vector" in name:
                value.mul_(0.5 + torch.rand(value.shape, generator=generator))
            elif "lora_" in name:
                value.copy_(SPREAD * torch.randn(value.shape, generator=generator))
            if kind == "bf16" and "lora_" in name:
                value.data = value.data.to(torch.bfloat16)
    return model.eval()


def save_adapter(model, kind, folder):
    """PEFT's own files, less the model card; the base's path and the order of lists depend on no machine."""
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = "tiny-llama"
    for key in ("target_modules", "exclude_modules"):
        if isinstance(config.get(key), list):
            assert sorted(config[key]) == sorted(KINDS[kind][key]), config[key]
            config[key] = KINDS[kind][key]
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def main():
    folder, out = (pathlib.Path(argument) for argument in sys.argv[1:3])
    generator = torch.Generator().manual_seed(SEED)
    plain_model = load(folder)
    ids = torch.randint(3, plain_model.config.vocab_size, (LENGTH,), generator=generator)
    tensors = {"ids": ids}
    with torch.no_grad():
        plain = logits_of(plain_model, ids.tolist())
    shutil.rmtree(out / "adapters", ignore_errors=True)
    for kind in KINDS:
        target = out / "adapters" / kind
        save_adapter(adapted_model(folder, kind, generator), kind, target)
        stored = load_file(target / "adapter_model.safetensors")
        assert {value.dtype for value in stored.values()} == {torch.bfloat16 if kind == "bf16" else torch.float32}
        model = PeftModel.from_pretrained(load(folder), target).eval()
        assert set(get_peft_model_state_dict(model)) == set(stored), "PEFT does not take its own file"
        with torch.no_grad():
            tensors[f"{kind}.logits"] = logits_of(model, ids.tolist()).clone()
        assert (tensors[f"{kind}.logits"] - plain).abs().max() > 0.1, f"{kind} hardly moves the logits"
        if kind == "dora":
            tensors[f"dora.merged.{MERGED}"] = model.merge_and_unload().get_submodule(MERGED).weight.detach().clone()
    save_file({name: value.contiguous() for name, value in tensors.items()}, out / "adapters.safetensors")


if __name__ == "__main__":
    main()
