"""The report of scripts/bench.py as Markdown, and files that are never half there."""

import os

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
EAGER, COMPILED = "transformers eager", "transformers compiled"


def table(cases):
    lines = ["| model | B x T | dropout | who | tokens/s | to eager | to compiled | peak MiB | utilisation |",
             "|---|---|--:|---|--:|--:|--:|--:|--:|"]
    for case in cases:
        results, agrees = case["results"], case["losses_agree"]
        for who, found in results.items():
            where = f"| {case['size']} | {case['batch']} x {case['sequence_length']} | {case['dropout']:g} | {who} |"
            if found is None:
                lines.append(f"{where} failed | | | | |")
                continue

            def ratio(other):
                peer = results.get(other)
                if peer is None or who == other:
                    return ""
                if not (agrees.get(who) and agrees.get(other)):
                    return "losses differ"
                return f"{found['tokens_per_second'] / peer['tokens_per_second']:.2f}"

            peak = "" if found["peak_mib"] is None else f"{found['peak_mib']:,.0f}"
            part = "" if found["utilisation"] is None else f"{100 * found['utilisation']:.0f} %"
            lines.append(f"{where} {found['tokens_per_second']:,.0f} | {ratio(EAGER)} | {ratio(COMPILED)} | {peak} | {part} |")
    return lines


def markdown(report):
    versions = {**report["versions"], **(report["peer_versions"] or {})}
    versions = ", ".join(f"{name} {versions[name]}" for name in ("untie", "libtorch", "torch", "transformers", "python")
                         if name in versions)
    spread = max((found["spread"] for case in report["cases"] for found in case["results"].values() if found), default=0.0)
    apart = f"; rounds are at most {100 * spread:.0f} % apart" if report["rounds"] > 1 else ""
    resident = {}
    for case in report["cases"]:
        for who, found in case["results"].items():
            if found and found["baseline_mib"]:
                resident.setdefault(who.split()[0], found["baseline_mib"])
    baselines = ", ".join(f"{who} {mib:.0f} MiB" for who, mib in resident.items())
    peaks = "Peaks are what tensors have on the GPU." if report["device"] != "cpu" else (
        f"Peaks are resident memory without mapped files. Before there is a model it is: {baselines}.")
    lines = [f"{report['date']}, {report['cpu']}, {report['threads']} threads, {report['memory_gib']} GiB, "
             f"{report['system']}, {report['device']}, {report['precision']}"
             f"{', level ' + report['cpu_capability'] if report.get('cpu_capability') else ''}. {versions}.", "",
             f"Medians of rounds ({report['rounds']}) of at least {report['seconds']:g} s and 3 steps each, after "
             f"{report['warmup_steps']} steps of warm-up{apart}. {peaks}",
             "", *table(report["cases"])]
    data = report["data"]
    if data:
        lines += ["", f"A run of {data['config']} on the sample data, {data['global_batch']} sequences a step:", "",
                  "| | at the start | untied |", "|---|--:|--:|"]
        start, untied = data["step_seconds"]["at_start"], data["step_seconds"]["untied"]
        lines.append(f"| a step, s | {start:.2f} | {untied:.2f} |")
        waits = data["loader_wait_seconds"]
        lines.append(f"| before it, waiting for its batches, s | {waits['at_start']:.4f} | {waits['untied']:.4f} |")
        for key, where in (("checkpoint_seconds", "written at once"), ("checkpoint_stall_seconds", "written in the background")):
            stall = data[key]["median"]
            lines.append(f"| waiting for a checkpoint of the untied model, {where}, s (steps) | {stall:.3f} ({stall / start:.3f}) | "
                         f"{stall:.3f} ({stall / untied:.3f}) |")
    return "\n".join(lines) + "\n"


def write_markdown(path, block):
    """Replaces what is between the marks, or adds them."""
    text = path.read_text() if path.exists() else "# Performance\n\n"
    block = f"{BEGIN}\n{block}{END}"
    if BEGIN in text and END in text:
        text = text[:text.index(BEGIN)] + block + text[text.index(END) + len(END):]
    else:
        text = text.rstrip("\n") + f"\n\n{block}\n"
    write_aside(path, text)


def write_aside(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".partial")
    aside.write_text(text)
    os.replace(aside, path)
