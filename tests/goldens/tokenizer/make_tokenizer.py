"""Token ids of 200 texts from llama.cpp and from Hugging Face, for the tests of crates/engine/src/tokenizer.

Usage: make_tokenizer.py SMOLLM2.gguf SMOLLM2_HF   (the demo model's file, and the same as a Hugging Face folder: ../README.md)
Made with: python 3.11, llama-cpp-python 0.3.36, transformers 5.23.0, tokenizers 0.23.3, gguf 0.19.0, sentencepiece 0.2.3

Writes beside itself:
  smollm2.json            ids by the SmolLM2 vocabulary: `plain` (control tokens' names are text) and `control`
  pre.json                plain ids by the same vocabulary under other values of tokenizer.ggml.pre
  spm.gguf, spm.json      a small SentencePiece BPE vocabulary trained on these texts, and ids by it
  spm-hf/                 the same vocabulary as tokenizer.json
Both references must agree. Where they do not, the ids are Hugging Face's (the tokenizer that the model was trained
with) and llama.cpp's are recorded as `llama_cpp` with the reason.
"""

import io
import json
import pathlib
import sys
import tempfile

import gguf
import llama_cpp
import sentencepiece
import tokenizers
import transformers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers

from texts import texts

HERE = pathlib.Path(__file__).parent
VERSIONS = {"llama_cpp_python": llama_cpp.__version__, "transformers": transformers.__version__,
            "tokenizers": tokenizers.__version__, "gguf": "0.19.0", "sentencepiece": sentencepiece.__version__}

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")


def write(name, value):
    (HERE / name).write_text(json.dumps(value, ensure_ascii=True, indent=None, separators=(",", ":"))
                             .replace('{"text"', '\n{"text"') + "\n")


def llama(path):
    model = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    return lambda text, special: model.tokenize(text.encode(), add_bos=False, special=special) if text else []


def vocabulary_file(path, tokens, kinds, model, pre=None, merges=None, scores=None, special=None):
    """A GGUF file with a vocabulary and the few numbers that llama.cpp wants, and no tensors."""
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(8)
    writer.add_block_count(1)
    writer.add_feed_forward_length(8)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(8)
    writer.add_tokenizer_model(model)
    if pre:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    if scores:
        writer.add_token_scores(scores)
    writer.add_token_types(kinds)
    if merges:
        writer.add_token_merges(merges)
    for name, token in (special or {}).items():
        getattr(writer, f"add_{name}_token_id")(token)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def field(reader, key):
    return reader.fields[key].contents()


def row(text, theirs, ours, reason):
    """One golden row; `ours` are Hugging Face's ids and `theirs` llama.cpp's."""
    entry = {"text": text, "ids": ours}
    if theirs != ours:
        assert reason, (text, theirs, ours)
        entry |= {"llama_cpp": theirs, "reason": reason}
    return entry


def smollm2(gguf_path, folder):
    by_llama = llama(gguf_path)
    hf = transformers.AutoTokenizer.from_pretrained(folder)
    rows, differ = [], 0
    for text in texts():
        entry = {"text": text}
        for mode, special in (("plain", False), ("control", True)):
            ours = hf(text, add_special_tokens=False, split_special_tokens=not special)["input_ids"]
            theirs = by_llama(text, special)
            entry[mode] = ours
            if ours != theirs:
                differ += 1
                entry[f"llama_cpp_{mode}"] = theirs
                print("differ:", mode, repr(text), ours, theirs, file=sys.stderr)
        rows.append(entry)
    write("smollm2.json", {"versions": VERSIONS, "disagreements": differ, "rows": rows})


def pre(gguf_path, folder):
    reader = gguf.GGUFReader(gguf_path)
    tokens, kinds = field(reader, "tokenizer.ggml.tokens"), field(reader, "tokenizer.ggml.token_type")
    merges = field(reader, "tokenizer.ggml.merges")
    spec = json.loads((pathlib.Path(folder) / "tokenizer.json").read_text())
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}

    def split(pattern):
        one = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
        return {"type": "Sequence", "pretokenizers": [one, byte_level]}

    stages = {"gpt-2": byte_level | {"use_regex": True}, "llama-bpe": split(LLAMA3), "qwen2": split(QWEN2), "default": None}
    result = {}
    for name, stage in stages.items():
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "v.gguf"
            vocabulary_file(path, tokens, kinds, "gpt2", pre=name, merges=merges, special={"bos": 1, "eos": 2})
            by_llama = llama(path)
            theirs = [by_llama(text, False) for text in texts()]
        if stage is None:  # llama.cpp's own invention
            result[name] = [{"text": text, "ids": ids} for text, ids in zip(texts(), theirs)]
            continue
        spec["pre_tokenizer"] = stage
        spec["model"]["ignore_merges"] = name == "llama-bpe"
        spec["normalizer"] = {"type": "NFC"} if name == "qwen2" else None
        hf = tokenizers.Tokenizer.from_str(json.dumps(spec))
        hf.encode_special_tokens = True
        rows = []
        for text, other in zip(texts(), theirs):
            ours = hf.encode(text, add_special_tokens=False).ids
            reason = None
            if ours != other:
                print("differ:", name, repr(text), ours, other, file=sys.stderr)
                composed = normalizers.NFC().normalize_str(text)
                if name == "qwen2" and composed != text:
                    reason = "llama.cpp does not compose (NFC)"
                else:
                    reason = "apostrophe and long s, or a dropped byte between two symbols"
            rows.append(row(text, other, ours, reason))
        result[name] = rows
    write("pre.json", {"versions": VERSIONS, "rows": result})


def spm():
    out = io.BytesIO()
    # control characters would end up as pieces of their own
    corpus = [line for text in texts() for line in text.splitlines() if line.strip()]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus), model_writer=out, vocab_size=900, model_type="bpe", byte_fallback=True,
        character_coverage=0.98, normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True,
        allow_whitespace_only_pieces=True, user_defined_symbols=["[NOTE]"], num_threads=1, hard_vocab_limit=False)
    processor = sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())
    size = processor.get_piece_size()
    pieces = [processor.id_to_piece(i) for i in range(size)]
    scores = [processor.get_score(i) for i in range(size)]
    T = gguf.TokenType
    kinds = [T.UNKNOWN if processor.is_unknown(i) else T.CONTROL if processor.is_control(i)
             else T.BYTE if processor.is_byte(i) else T.USER_DEFINED if pieces[i] == "[NOTE]" else T.NORMAL
             for i in range(size)]
    special = {"bos": processor.bos_id(), "eos": processor.eos_id(), "unk": processor.unk_id()}
    path = HERE / "spm.gguf"
    vocabulary_file(path, pieces, kinds, "llama", pre="default", scores=scores, special=special)

    # the same as a tokenizer.json: every pair of pieces that gives a piece, in the order of the result's score
    ids = {piece: i for i, piece in enumerate(pieces)}
    normal = {piece for piece, kind in zip(pieces, kinds) if kind == T.NORMAL}
    merges = [(-scores[ids[whole]], ids[whole[:cut]], ids[whole[cut:]], whole[:cut], whole[cut:])
              for whole in normal for cut in range(1, len(whole)) if whole[:cut] in normal and whole[cut:] in normal]
    bpe = models.BPE(ids, [(left, right) for *_, left, right in sorted(merges)], unk_token="<unk>", fuse_unk=True,
                     byte_fallback=True)
    hf = tokenizers.Tokenizer(bpe)
    hf.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    hf.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
                                    decoders.Strip(" ", 1, 0)])
    hf.add_special_tokens([tokenizers.AddedToken(t, special=True, normalized=False) for t in ("<unk>", "<s>", "</s>")])
    hf.add_tokens([tokenizers.AddedToken("[NOTE]", special=False, normalized=False)])
    hf.post_processor = tokenizers.processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", special["bos"])])
    (HERE / "spm-hf").mkdir(exist_ok=True)
    hf.save(str(HERE / "spm-hf" / "tokenizer.json"), pretty=False)
    (HERE / "spm-hf" / "tokenizer_config.json").write_text(json.dumps(
        {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "chat_template": "{{ messages[0]['content'] }}"}) + "\n")

    by_llama = llama(path)
    rows, differ = [], 0
    extra = ["a [NOTE] b", "[NOTE][NOTE] x", "<s>Hello</s>", "x <unk> y", "</s>"]
    for text in texts() + extra:
        entry = {"text": text}
        for mode, plain in (("plain", True), ("control", False)):
            hf.encode_special_tokens = plain
            ours = hf.encode(text, add_special_tokens=False).ids
            theirs = by_llama(text, not plain)
            entry[mode] = ours
            if ours != theirs:
                differ += 1
                entry[f"llama_cpp_{mode}"] = theirs
                print("differ: spm", mode, repr(text), ours, theirs, file=sys.stderr)
        rows.append(entry)
    write("spm.json", {"versions": VERSIONS, "disagreements": differ, "rows": rows})


if __name__ == "__main__":
    smollm2(sys.argv[1], sys.argv[2])
    pre(sys.argv[1], sys.argv[2])
    spm()
