"""The study's report: every number of docs/study.md, from the rows of its runs.

In:  rows as scripts/study.py writes them, a JSON object a run.
Out: Markdown. What is missing is said, and no test is made of fewer than two pairs.
"""

import math
from statistics import mean

import study_stats as stats
from study_files import key, write
from wheels import stop

NAMES = {"baseline-half": "B(T/2)", "swe-f": "SWE-F(T/2)", "baseline": "B(T)", "swe-f-late": "SWE-F(T/2), untied at 40 %",
         "swe-units": "SWE-F(T/2), unit of 4 layers", "always-tied": "always tied (T/2)", "swe-a": "SWE-A(T/2)",
         "swe-m": "SWE-M(T/2)", "expand": "one layer, then 12 (T/2)", "stack": "stacking (T/2)"}
MAIN = ["baseline-half", "swe-f", "baseline"]
PAPER = (0.36, 0.54)
AGAINST = 0.2
LEVEL = 0.05
MARGIN = 0.25
PLATEAU = 0.10
NONE = "–"
MARKS = ("<!-- report -->", "<!-- /report -->")


def grouped(rows, scale):
    """The runs of a scale by (arm, rate) and seed, main arms first."""
    found = {}
    for row in rows:
        if row["scale"] != scale:
            continue
        runs = found.setdefault(key(row), {})
        if row["seed"] in runs:
            stop(f"two rows of `{row['arm']}` at {rate_of(row['rate'])} have the seed {row['seed']}", "keep one of them")
        check_documents(row)
        runs[row["seed"]] = row
    order = list(NAMES)
    place = lambda arm: order.index(arm[0]) if arm[0] in order else len(order)
    return {arm: dict(sorted(found[arm].items())) for arm in sorted(found, key=lambda arm: (place(arm), arm))}


def check_documents(row):
    """A document's part of an evaluation must add up to the evaluation."""
    if row.get("documents"):
        targets, loss, _ = (sum(column) for column in zip(*row["documents"]))
        if targets != row["targets"] or abs(loss / targets - row["loss"]) > 1e-3:
            stop(f"`documents` of `{row['arm']}`, seed {row['seed']}, do not add up to its loss", "measure that run again")


def rate_of(rate):
    mantissa, exponent = f"{rate:e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def name(arm):
    return f"{NAMES.get(arm[0], arm[0])} at {rate_of(arm[1])}"


def signed(value, digits=4):
    # Not "−0.00".
    return NONE if value is None else f"{round(value, digits) + 0.0:+.{digits}f}".replace("-", "−")


def number(value, form):
    return NONE if value is None else format(value, form)


def p_of(value):
    return NONE if value is None else "< 0.0001" if value < 1e-4 else f"= {value:.4f}"


def with_sd(values, form):
    sd = stats.spread(values)
    return f"{format(mean(values), form)}{'' if sd is None else ' ± ' + format(sd, form)}".replace("-", "−")


def table(head, rows):
    lines = ["| " + " | ".join(line) + " |" for line in [head, *rows]]
    return "\n".join([lines[0], "|---" + "|--:" * (len(head) - 1) + "|", *lines[1:]])


def last(row, tag):
    """The last value of a tag in a run's curve."""
    return next((point[tag] for point in reversed(row["curve"]) if tag in point), None)


def plateau_left(row):
    """Steps, and tokens where they are recorded, of the first evaluation with at least 10 % of the targets right."""
    for point in row["curve"]:
        if point.get("eval/mlm_accuracy", 0.0) >= PLATEAU:
            return point["step"], point.get("train/tokens")
    return None


def cost(runs, tag):
    values = [last(row, tag) for row in runs.values()]
    return None if None in values else mean(values)


def arms_table(groups):
    rows = []
    for arm, runs in groups.items():
        every = list(runs.values())
        left = [plateau_left(row) for row in every]
        tokens = [found[1] for found in left if found and found[1]]
        steps = [found[0] for found in left if found]
        shown = NONE if not steps else f"{mean(tokens) / 1e6:.2f} M" if len(tokens) == len(steps) else f"step {mean(steps):,.0f}"
        if len(steps) < len(every):
            shown += f" ({len(every) - len(steps)} never)"
        flops, hours = cost(runs, "train/flops"), cost(runs, "train/hours")
        rows.append([name(arm), str(len(every)), with_sd([row["loss"] for row in every], ".4f"),
                     with_sd([row["accuracy"] for row in every], ".2f") + " %", shown,
                     number(flops and flops / 1e12, ".0f" if flops and flops > 1e14 else ".1f"), number(hours, ".2f")])
    return table(["arm", "seeds", "loss", "accuracy", "plateau left after", "TFLOP", "hours"], rows)


def seeds_table(groups):
    seeds = sorted({seed for runs in groups.values() for seed in runs})
    cell = lambda row: f"{row['loss']:.4f}, {row['accuracy']:.2f} %" if row else NONE
    return table(["seed", *map(name, groups)], [[str(seed), *(cell(runs.get(seed)) for runs in groups.values())] for seed in seeds])


def differences(one, other, measure):
    return [one[seed][measure] - other[seed][measure] for seed in one if seed in other]


def pairs_table(groups, pairs):
    rows = []
    for first, second in pairs:
        cells = [f"{name(first)} − {name(second)}"]
        for measure, digits in (("loss", 4), ("accuracy", 2)):
            values = differences(groups[first], groups[second], measure)
            found = stats.paired(values)
            low, high = found["interval"] or (None, None)
            shown = signed(found["mean"], digits) + ("" if found["sd"] is None else f" ± {found['sd']:.{digits}f}")
            cells += [str(len(values))] if measure == "loss" else []
            cells += [shown, NONE if low is None else f"{signed(low, digits)} to {signed(high, digits)}", number(found["t"], ".2f"),
                      p_of(found["p"]).removeprefix("= ")]
        rows.append([cell.replace("-", "−") if at else cell for at, cell in enumerate(cells)])
    head = ["difference", "n", "loss", "95 %", "t", "p", "accuracy (points)", "95 %", "t", "p"]
    return table(head, rows)


def hypotheses(groups, half, swe, full, asked):
    """H1, and H2 where H1 holds, in words."""
    losses = differences(groups[swe], groups[half], "loss")
    first = stats.paired(losses)
    so_far = "" if len(losses) >= asked else f" These are {len(losses)} of {asked} seeds, so this is not the study's answer."
    claim = f"**H1**, the loss of {name(swe)} is below that of {name(half)}:"
    if first["t"] is None:
        return [f"- {claim} not tested, {len(losses)} pair{'s' if len(losses) != 1 else ''} so far."]
    holds = first["p"] < LEVEL and first["mean"] < 0
    worse = first["p"] < LEVEL and first["mean"] > 0
    verdict_of = "holds" if holds else "does not hold, it is above" if worse else "does not hold"
    lines = [f"- {claim} **{verdict_of}**. The mean difference is {signed(first['mean'])}, "
             f"t({first['n'] - 1}) = {signed(first['t'], 2)}, p {p_of(first['p'])}.{so_far}"]
    claim = f"**H2**, {name(swe)} is worse than {name(full) if full else 'B(T)'} by less than a quarter of the gap:"
    seeds = [seed for seed in groups[swe] if full and seed in groups[half] and seed in groups[full]]
    if not holds:
        return [*lines, f"- {claim} not tested, because H1 does not hold."]
    if len(seeds) < 2:
        return [*lines, f"- {claim} not tested, {len(seeds)} seeds of all three arms so far."]
    gap = mean(groups[half][seed]["loss"] - groups[full][seed]["loss"] for seed in seeds)
    second = stats.paired([groups[swe][seed]["loss"] - groups[full][seed]["loss"] for seed in seeds], MARGIN * gap)
    verdict = "holds" if second["p_below"] < LEVEL else "does not hold"
    return [*lines, f"- {claim} **{verdict}**. The gap is {signed(gap)}, a quarter of it {signed(MARGIN * gap)}. "
                    f"The mean difference is {signed(second['mean'])}, t({second['n'] - 1}) = {signed(second['t'], 2)}, "
                    f"p {p_of(second['p_below'])} (one-sided).{so_far}"]


def verdict(interval, complete):
    low, high = interval
    if low is None or not complete:
        return "too few seeds"
    if low > 0 and high >= PAPER[0] and low <= PAPER[1]:
        return "in line with the paper"
    return "against the paper" if high < AGAINST else "neither"


def phi_rows(groups, half, other, full, asked):
    """φ of `other` by steps, FLOPs and hours, for loss and accuracy, with intervals."""
    seeds = [seed for seed in groups[other] if seed in groups[half] and seed in groups[full]]
    if not seeds:
        return []
    arms = [[groups[arm][seed] for seed in seeds] for arm in (half, other, full)]
    runs = [[{"loss": row["loss"], "accuracy": row["accuracy"], "books": row.get("documents")} for row in arm] for arm in arms]
    draws = stats.bootstrap(runs) if len(seeds) > 1 else []
    # By steps the arms are compared as they are.
    costs = [[1.0, 1.0, 2.0]] + [[cost(dict(enumerate(arm)), tag) for arm in arms] for tag in ("train/flops", "train/hours")]
    rows = []
    for at, (measure, sign) in enumerate((("loss", 1.0), ("accuracy", -1.0))):
        found = [phi(runs, draws, at, measure, three) for three in costs]
        no_gap = sum(sign * (draw[0][at] - draw[2][at]) <= 0 for draw in draws) / max(1, len(draws))
        judged = verdict(found[0][1], len(seeds) >= asked) if other[0] == "swe-f" else NONE
        judged += f", no gap in {100 * no_gap:.1f} % of the draws" if no_gap > 0.001 else ""
        shown = [signed(value, 2) + ("" if low is None else f" ({signed(low, 2)} to {signed(high, 2)})") for value, (low, high) in found]
        rows.append([f"{name(other)}, against {name(half)}", measure, str(len(seeds)), *shown, judged])
    return rows


def phi(runs, draws, at, measure, costs):
    """φ and its interval where the arms cost so much; a line through two points says little far from them."""
    if None in costs or not 0.8 * costs[0] <= costs[1] <= 1.2 * costs[2]:
        return None, (None, None)
    share = lambda half, other, full: stats.gap_closed(stats.at_cost(half, full, costs[0], costs[2], costs[1]), other, full)
    drawn = sorted(value for draw in draws if not math.isnan(value := share(*(arm[at] for arm in draw))))
    interval = (stats.percentile(drawn, 0.025), stats.percentile(drawn, 0.975)) if drawn else (None, None)
    return share(*(mean(run[measure] for run in arm) for arm in runs)), interval


def phi_text(groups, rows):
    whole = all(row.get("documents") for runs in groups.values() for row in runs.values())
    drawn = "seeds and held-out books" if whole else "seeds, and over held-out books where all rows have `documents`"
    head = ["arm", "measure", "n", "φ at equal steps (95 %)", "at equal FLOPs", "at equal hours", "verdict"]
    text = ("φ is the share of the gap between the baselines at T/2 and T that an arm closes. The paper's φ of the accuracy is "
            f"{PAPER[0]} to {PAPER[1]}. The interval is a paired bootstrap over {drawn} ({stats.DRAWS:,} draws). For equal FLOPs or hours, "
            "the baseline's value is read off the line through its two ends, with the mean costs over seeds.")
    return [text, table(head, rows)]


def halves(groups, full):
    """The arms B(T/2), that with the rate of B(T) first."""
    found = [arm for arm in groups if arm[0] == "baseline-half"]
    return sorted(found, key=lambda arm: (full is not None and arm[1] != full[1], arm))


def missing(groups, seeds):
    """Main runs that are not there yet, in words."""
    short = {arm: [str(seed) for seed in seeds if seed not in runs] for arm, runs in groups.items() if arm[0] in MAIN}
    absent = [NAMES[arm] for arm in MAIN if not any(found[0] == arm for found in groups)]
    parts = [f"{name(arm)}: {', '.join(found)}" for arm, found in short.items() if found] + [f"{arm}: all" for arm in absent]
    if not parts:
        return f"All runs of the main arms are here (seeds {', '.join(map(str, seeds))})."
    return f"**The study is not finished.** Missing seeds: {'; '.join(parts)}."


def provenance(groups):
    every = [row for runs in groups.values() for row in runs.values()]
    names = lambda tag, length: ", ".join(f"`{value[:length]}`" for value in sorted({row[tag] for row in every}))
    return (f"{len(every)} runs on {names('cpu', None)}. SHA-256 of the binary: {names('binary', 12)}; of the data's manifest: "
            f"{names('data', 12)}. Held-out targets: {', '.join(f'{count:,}' for count in sorted({row['targets'] for row in every}))}.")


def report(rows, scale, seeds, secondary=()):
    """The whole report as Markdown; `secondary` are functions that give more parts from the runs."""
    groups = grouped(rows, scale)
    if not groups:
        stop(f"there are no rows of the scale `{scale}`", "name the scale of the rows with `--scale`")
    full = next((arm for arm in groups if arm[0] == "baseline"), None)
    others = [arm for arm in groups if arm[0] not in ("baseline-half", "baseline")]
    bases = halves(groups, full)
    pairs = [(other, half) for other in others for half in bases if set(groups[other]) & set(groups[half])]
    pairs += [(other, full) for other in others if full and set(groups[other]) & set(groups[full])]
    pairs += [(half, full) for half in bases if full and set(groups[half]) & set(groups[full])]
    text = [missing(groups, seeds), provenance(groups), "### Arms", arms_table(groups)]
    text += ["Mean ± sd over seeds. Hours are those of training steps, and depend on what else the machine did. The plateau is left at the "
             "first evaluation, one every 500 steps, with 10 % of the held-out targets right. Evaluations have sequences of 64 tokens, but "
             "until step 4,000 a model has seen only the first 16 positions. So this says little before that step."]
    if pairs:
        text += ["### Differences by seed", pairs_table(groups, pairs)]
    claims = [hypotheses(groups, half, swe, full, len(seeds)) for swe in others if swe[0] == "swe-f" for half in bases]
    if claims:
        text += ["### Hypotheses", "\n".join(line for claim in claims for line in claim)]
    gaps = [line for other in others for half in bases if full for line in phi_rows(groups, half, other, full, wanted(other, seeds))]
    if gaps:
        text += ["### The gap that is closed", *phi_text(groups, gaps)]
    text += [part for found in secondary for part in found(groups)]
    return "\n\n".join([*text, "### All runs", seeds_table(groups)]) + "\n"


def wanted(arm, seeds):
    """How many seeds an arm has when it is finished: secondary arms have three."""
    return len(seeds) if arm[0] in MAIN else min(3, len(seeds))


def fill(page, text):
    """Puts the report between the two marks of a page."""
    before, mark, rest = page.read_text().partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not mark or not end:
        stop(f"`{page}` lacks the marks `{MARKS[0]}` and `{MARKS[1]}`", "put each on a line of its own, where the report belongs")
    write(page, f"{before}{mark}\n\n{text}\n{end}{after}")
