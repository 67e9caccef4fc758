"""weft evaluate: what a model makes of a file's inputs, scored against its answers."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from pathlib import Path

from weft.bundle import write_atomically
from weft.cli.flags import Parser, add_generation_flags, generation_options
from weft.errors import UsageError
from weft.metrics import bleu, moses_tokens, sacrebleu_metrics, tokenized_bleu
from weft.model import Model, Result, load
from weft.spec.training import TrainingOptions

_EXAMPLES = """examples:
  weft evaluate my-model --data test.tsv
  weft evaluate fr-en --data tatoeba.en-fr.test.tsv.gz --source-column 1 --target-column 0 --confidence
  weft evaluate my-model --data test.tsv --beam 5 --n-best 5 --output translations.txt
  weft evaluate sentiment --data rt_polarity.test.tsv --source-column 1 --target-column 0 --confidence
  weft evaluate ner --data test.bio
  weft evaluate shakespeare --data tinyshakespeare.txt --last-tenth
  weft evaluate runs/infill --data essays.jsonl --last-tenth --objective infill --context 128

Scores by the model's task: sacreBLEU and chrF of translations, accuracy of labels, F1 of entities, bits per character and
perplexity of completions, perplexity and exact match of what was taken out of texts (denoise)."""


def run(argv: list[str]) -> int:
    parser = Parser(prog="weft evaluate", description="Score a model on files of examples, with the scores' signatures.",
                    epilog=_EXAMPLES,
                    usage="weft evaluate MODEL --data FILE [FILE ...] [options]")
    parser.add_argument("model", help="bundle folder or shipped model")
    parser.add_argument("--data", nargs="+", required=True, metavar="FILE", help="test files, as for weft train")
    parser.add_argument("--last-tenth", action="store_true",
                        help="only what training without --validation held out: of few texts the last tenth of each")
    parser.add_argument("--source-column", type=int, default=0, metavar="N", help="from 0 (default: 0)")
    parser.add_argument("--target-column", type=int, default=1, metavar="N", help="from 0 (default: 1)")
    parser.add_argument("--confidence", action="store_true", help="95%% bootstrap interval of each score")
    parser.add_argument("--tokenized-bleu", metavar="LANGUAGE",
                        help="also lower-cased BLEU of Moses tokens of this language, e.g. de")
    parser.add_argument("--objective", choices=("spans", "infill"), default="spans",
                        help="denoise: as in training (default: spans)")
    parser.add_argument("--context", type=int, default=TrainingOptions.context, metavar="N",
                        help=f"denoise: tokens of a window, as in training (default: {TrainingOptions.context})")
    parser.add_argument("--noise", type=float, metavar="X", help="denoise: share of tokens taken out, as in training")
    parser.add_argument("--output", metavar="FILE", help="write the translations here, n-best ones TAB-separated")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="compute in (default: fp32)")
    add_generation_flags(parser)
    arguments = parser.parse_args(argv)
    _check(arguments)
    model = load(arguments.model, precision=arguments.precision)
    if lacking := model.task.missing():
        raise UsageError(lacking)
    options = TrainingOptions(source_column=arguments.source_column, target_column=arguments.target_column,
                              objective=arguments.objective, context=arguments.context, noise=arguments.noise)
    pairs = model.task.read([Path(path) for path in arguments.data], options)
    if arguments.last_tenth:
        pairs = model.task.hold_out(pairs, options.seed)[1]
    start = time.perf_counter()
    if model.bundle.task != "translate":
        for score in model.task.evaluate(model.runner, model.tokenizer, model.config, pairs, arguments.confidence, options):
            print(score)
        print(f"{len(pairs):,} examples of {', '.join(arguments.data)} in {time.perf_counter() - start:.1f} s")
        return 0
    results = _translate(model, [source for source, _ in pairs], generation_options(arguments))
    seconds = time.perf_counter() - start
    _report(model, arguments, results, [target for _, target in pairs])
    print(f"{len(pairs):,} lines of {', '.join(arguments.data)} in {seconds:.1f} s; {_settings(model, arguments)}")
    if arguments.output:  # after the scores, which a full disk must not take along
        _write(Path(arguments.output), results)
    return 0


def _check(arguments: Namespace) -> None:
    """Raises UsageError for what would otherwise be found out after minutes of translating."""
    for name in ("source_column", "target_column"):
        if getattr(arguments, name) < 0:
            raise UsageError(f"{name} is {getattr(arguments, name)}; it must be 0 or more")
    if arguments.tokenized_bleu:
        moses_tokens(arguments.tokenized_bleu)
    if arguments.output and Path(arguments.output).is_dir():
        raise UsageError(f"--output {arguments.output} is a folder; name a file in it")
    if arguments.output and not Path(arguments.output).parent.is_dir():
        raise UsageError(f"--output {arguments.output}: no folder {Path(arguments.output).parent}; make it first")


def _write(path: Path, results: list[Result]) -> None:
    lines = ["\t".join(one.text for one in result.alternatives or (result,)) for result in results]
    content = ("\n".join(lines) + "\n").encode()
    if path.exists() and not path.is_file():  # a device or pipe is written to, never replaced
        path.write_bytes(content)
    else:
        write_atomically(path, content)


def _translate(model: Model, sources: list[str], options: dict) -> list[Result]:
    """All results, with a progress bar where standard error is a terminal."""
    if not sys.stderr.isatty():
        return model.generate(sources, **options)
    from rich.console import Console
    from rich.progress import track

    chunks = [sources[start : start + 128] for start in range(0, len(sources), 128)]
    return [result for chunk in track(chunks, "translating", console=Console(stderr=True))
            for result in model.generate(chunk, **options)]


def _report(model: Model, arguments: Namespace, results: list[Result], references: list[str]) -> None:
    outputs = [result.text for result in results]
    for score in model.task.scores(outputs, references, arguments.confidence):
        print(score)
        if arguments.confidence and score.interval is None:
            print(f"weft: note: no interval for {score.name}: some resamples score exactly 0", file=sys.stderr)
    if arguments.tokenized_bleu:
        print(tokenized_bleu(outputs, references, arguments.tokenized_bleu))
    if results and results[0].alternatives:
        width = max(len(result.alternatives) for result in results)
        print(f"oracle of {width}-best: {bleu(_oracle(results, references), references)}")


def _oracle(results: list[Result], references: list[str]) -> list[str]:
    """For each line the alternative with the best sentence chrF: what a perfect reranker would choose."""
    metric = sacrebleu_metrics().CHRF()

    def chosen(result: Result, reference: str) -> str:
        texts = [one.text for one in result.alternatives or (result,)]
        return max(texts, key=lambda text: metric.sentence_score(text, [reference]).score)

    return [chosen(result, reference) for result, reference in zip(results, references, strict=True)]


def _settings(model: Model, arguments: Namespace) -> str:
    options = model.options(**generation_options(arguments))
    if options.sample:
        return f"sampling, temperature {options.temperature}, top-k {options.top_k}, top-p {options.top_p}"
    penalty = f"length penalty {options.length_formula} {options.length_penalty}"
    return f"beam {options.beams}, {penalty}" if options.beams > 1 else "greedy"
