# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.15.0", "transformers==5.23.0", "safetensors==0.8.0"]
# ///
"""Greedy continuations and answer losses of SmolLM2-135M-Instruct, from its dequantised weights in float32.

    python make_smollm2.py HF_DIR OUT_DIR

HF_DIR is the folder made from the demo model's own GGUF, so every weight is the Q4_1 (or Q8_0, F32) block's value.
Writes smollm2_greedy.json: prompts with their ids, the next 40 ids of greedy decoding (fewer when the end token comes,
which is then the last), the text, and at each step the gap between the two largest logits: a step whose gap is small is
where another order of summation could choose otherwise. Writes smollm2_loss.json: (prompt, answer) pairs with ids,
labels and the mean cross-entropy over the labelled positions.
"""
import pathlib
import sys

import torch
from transformers import AutoTokenizer

from reference_model import IGNORED, label_count, load, logits_of, summed_loss, write_json

NEW_TOKENS = 40
SMALLEST_GAP = 0.02
PLAIN = [
    "The heart pumps blood through the lungs, where it",
    "Patient: I have had a cough for 3 weeks.\nDoctor:",
    "| Drug | Class |\n|---|---|\n| ibuprofen | NSAID |\n| amoxicillin |",
]
CHAT = [
    "Explain in simple words what a stroke is.",
    "Why do antibiotics not work against the flu?",
    "Name the four chambers of the heart.",  # ends by itself before the 40th token
]
PAIRS = [
    (
        "### Instruction:\nAnswer the question in one sentence.\n\n### Input:\nWhich hormone lowers blood glucose?\n\n### Response:\n",
        "Insulin, which is made in the beta cells of the pancreas, lowers blood glucose.",
    ),
    (
        "### Instruction:\nList every medication in the note, one per line.\n\n### Input:\n"
        "Pt. is a 67-year-old man on metformin and lisinopril; naproxen was stopped in 2019.\n\n### Response:\n",
        "metformin\nlisinopril\nnaproxen",
    ),
    (
        "### Instruction:\nRewrite in plain words: Temp. 38.9 °C, SpO₂ 94 %, no β-lactam allergy.\n\n### Response:\n",
        "The temperature was high (38.9 °C) and the oxygen level was 94 %. There is no allergy to penicillin-like drugs.",
    ),
]


def greedy(model, ids):
    """New ids of transformers' own greedy generation with its cache, and the raw logits of each step."""
    prompt = torch.tensor([ids])
    with torch.no_grad():
        out = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
        )
    return out.sequences[0, len(ids) :].tolist(), torch.cat(out.logits)


def check_defaults(model):
    """Nothing in the model's generation settings changes a greedy choice."""
    settings = model.generation_config.to_diff_dict()
    assert set(settings) <= {"bos_token_id", "eos_token_id", "pad_token_id", "transformers_version", "use_cache", "_from_model_config"}, settings


def continuation(model, tokenizer, ids):
    new, logits = greedy(model, ids)
    with torch.no_grad():
        whole = logits_of(model, ids + new)[len(ids) - 1 : -1]
    assert whole.argmax(dim=-1).tolist() == new, "one forward over the whole text chooses otherwise"
    top = logits.topk(2).values
    gaps = (top[:, 0] - top[:, 1]).tolist()
    assert min(gaps) > SMALLEST_GAP, min(gaps)
    return {
        "prompt_ids": ids,
        "continuation_ids": new,
        "ended": new[-1] == model.generation_config.eos_token_id,
        "text": tokenizer.decode(new, skip_special_tokens=True),
        "smallest_gap": round(min(gaps), 4),
        "gaps": [round(gap, 4) for gap in gaps],
    }


def greedy_goldens(model, tokenizer):
    rows = []
    for prompt in PLAIN:
        ids = tokenizer(prompt, add_special_tokens=False).input_ids
        rows.append({"kind": "text", "prompt": prompt} | continuation(model, tokenizer, ids))
    for question in CHAT:
        messages = [{"role": "user", "content": question}]
        rendered = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        ids = tokenizer(rendered, add_special_tokens=False).input_ids
        rows.append({"kind": "chat", "messages": messages, "prompt": rendered} | continuation(model, tokenizer, ids))
    assert sum(len(row["continuation_ids"]) == NEW_TOKENS for row in rows) >= 5
    return rows


def loss_goldens(model, tokenizer):
    """The prompt and the answer are tokenized apart; the answer and the end token are learned."""
    rows = []
    for prompt, answer in PAIRS:
        head = tokenizer(prompt, add_special_tokens=False).input_ids
        tail = tokenizer(answer, add_special_tokens=False).input_ids + [tokenizer.eos_token_id]
        ids, labels = head + tail, [IGNORED] * len(head) + tail
        with torch.no_grad():
            loss = summed_loss(model, ids, labels).item() / label_count(labels)
            own = model(input_ids=torch.tensor([ids]), labels=torch.tensor([labels])).loss.item()
        assert abs(loss - own) < 1e-6 * own, (loss, own)
        rows.append({"prompt": prompt, "answer": answer, "ids": ids, "labels": labels, "label_tokens": label_count(labels), "loss": loss})
    return rows


def main():
    folder, out = (pathlib.Path(argument) for argument in sys.argv[1:3])
    model, tokenizer = load(folder), AutoTokenizer.from_pretrained(folder)
    check_defaults(model)
    settings = {"model": "SmolLM2-135M-Instruct, dequantised from Q4_1", "dtype": "float32", "attention": "eager"}
    write_json(out / "smollm2_greedy.json", settings | {"max_new_tokens": NEW_TOKENS, "rows": greedy_goldens(model, tokenizer)})
    rows = loss_goldens(model, tokenizer)
    tokens = sum(row["label_tokens"] for row in rows)
    mean = sum(row["loss"] * row["label_tokens"] for row in rows) / tokens
    write_json(out / "smollm2_loss.json", settings | {"token_mean_loss": mean, "label_tokens": tokens, "rows": rows})


if __name__ == "__main__":
    main()
