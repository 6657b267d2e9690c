"""The data card: front matter that `datasets` reads, and what a reader must know before training on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from apportion.pipeline.datasets.formats import CONFIGS

_TEMPLATE = """\
---
pretty_name: {{ title | tojson }}
tags: [multi-agent, credit-assignment, preference, process-reward-model]
{% if files %}
configs:
{% for name, splits in files.items() %}
- config_name: {{ name }}
{% if loop.first %}
  default: true
{% endif %}
  data_files:
{% for split, path in splits.items() %}
  - split: {{ split }}
    path: {{ path }}
{% endfor %}
{% endfor %}
{% endif %}
---

# {{ title }}

Trajectories of a team of LLM agents, made into data for training. Written by {{ created_by }}; `manifest.json` lists
the files with their digests and where they come from, `config.json` the resolved configuration.

**Licence**: not stated here. Whoever publishes this folder adds a `license:` line to the front matter, with the terms
of the questions and of the models that wrote the text in mind.

## What is in it

| configuration | row | train | validation | test |
|---|---|---|---|---|
{% for name, table in configs.items() %}
| `{{ name }}` | {{ table.row }} | {{ report.rows[name].values() | join(" | ") }} |
{% endfor %}

{% for name in absent %}
`{{ name }}` has no rows: {{ why[name] }} No file is written for it.

{% endfor %}
{% for name, splits in files.items() if "train" not in splits %}
`{{ name }}` has nothing to train on: all its questions fell on another side.

{% endfor %}
{% if files %}
```python
datasets.load_dataset("FOLDER", "{{ first }}")            # configurations: {{ files | join(", ") }}
polars.read_parquet("FOLDER/{{ first }}/*.parquet")
duckdb.sql("FROM read_parquet('FOLDER/{{ first }}/*.parquet', hive_partitioning=false)")
```

{% endif %}
Splits are by question, with one rule for all configurations: {{ by_name(report.questions) }} questions. A question is
known by its telling words, so that another punctuation or word order stays on the same side; a paraphrase in other
words does not.

## How the pairs were made

Both sides answer the same prompt as the same agent. `first_error`: at the step where a failed rollout first went
wrong, the agent wrote alternatives; one that won was continued afresh, as was the recorded message, and is chosen
where it did better. `contrast`: the same with the message of a sibling rollout that won. `chosen_k` and
`chosen_successes` are of the fresh continuations alone, never of those that selected the alternative; `margin` is the
difference of the two success shares, `weight` the probability that the chosen side is better minus that of the
opposite. Alternatives at random steps, where an experiment drew them, are in no data set.

* Pairs by kind: {{ by_name(report.kinds) }}; by agent: {{ by_name(report.agents) }}.
* Continuations behind a pair (chosen / rejected): {{ by_name(report.samples) }}.
* Mean margin {{ number(report.margin) }}, mean weight {{ number(report.weight) }}.
* Alternatives by what became of them: {{ by_name(report.repairs) }}.

Hygiene, pairs of the runs dropped from this folder: {{ by_name(report.dropped) }}.
{% if report.evaluation %}
{{ report.evaluation }} evaluation questions were held against all data sets; rows dropped from the others:
{{ by_name(report.contaminated) }}.
{% else %}
No evaluation set was given, so contamination is not checked.
{% endif %}

{{ length }}

`kto` holds both sides of the pairs as single answers; {{ report.kto_both }} that were chosen in one pair and rejected
in another are left out.

## How the steps were labelled

{% if report.localizers %}
Rows by localizer and target: {{ by_name(report.localizers) }}. 
Messages before the first error are true, the error itself is false, everything after it is cut off.
{{ successes }}
{% else %}
No step is labelled.
{% endif %}
Localizations by what became of them: {{ by_name(report.localizations) }}.

## Training rows

`grpo`, rows by advantage method: {{ by_name(report.methods) }}. Ready for a policy gradient with stored
log-probabilities and advantages; the advantages hold for the policy that sampled them.

## Audit

{% for run, (words, rows) in audits.items() %}
Run `{{ run }}`: {{ words }}

| check | figure | scope | value | 95 % interval | n | note |
|---|---|---|---|---|---|---|
{% for row in rows %}
| {{ row.check }} | {{ row.metric }} | {{ row.scope }} | {{ number(row.value) }} | {{ interval(row) }} | {{ row.n }} \
| {{ row.note or "" }} |
{% endfor %}

{% else %}
No run of this export has credit that could be audited.
{% endfor %}

## What is not guaranteed

* A pair says that one message led to success more often with these agents, tools and decoding, on few continuations.
  It says nothing about style, safety or truth in general. Only pairs with a gain are kept: margins read a little high.
* A first error by a localizer is an estimate. Continuations can succeed from a wrong step; a run can succeed in spite
  of one. Labels of several localizers may contradict each other: filter by `localizer` and `target`.
* Text was written by models and copied from tasks and tools; nothing was filtered for harm or private data.
* Token ids belong to the tokenizer of the policies in `manifest.json`; another model needs the text columns.

## Columns
{% for name in files %}

### {{ name }}

{{ configs[name].doc }}

| column | meaning | unit |
|---|---|---|
{% for column, meaning, unit in columns(name) %}
| `{{ column }}` | {{ meaning }} | {{ unit }} |
{% endfor %}
{% endfor %}
"""

_WHY = {
    "preference": "no alternative was confirmed as better than the recorded message.",
    "kto": "there is no pair whose sides it could hold.",
    "stepwise": "no first error was found in a failed rollout.",
    "grpo": "no advantages were computed.",
}


def render(
    title: str,
    files: Mapping[str, Mapping[str, str]],
    report: Mapping[str, Any],
    *,
    created_by: str,
    audits: Mapping[str, tuple[str, Sequence[Mapping[str, Any]]]] | None = None,
) -> str:
    """README.md of an export: `files` is configuration -> split -> path, of those that have rows.

    `report` as `sets.data_sets` makes it, `audits`: by run, what its audit says in words and its rows.
    Raises KeyError where the report lacks a figure: a card with a hole is not written.
    """
    import jinja2
    from jinja2.sandbox import SandboxedEnvironment

    environment = SandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined
    )
    return environment.from_string(_TEMPLATE).render(
        title=title,
        files=files,
        first=next(iter(files), ""),
        absent=[name for name in CONFIGS if name not in files],
        why=_WHY,
        configs=CONFIGS,
        report=report,
        created_by=created_by,
        audits=audits or {},
        length=_length(report["length"]),
        successes=_successes(report["localizations"]),
        number=_number,
        interval=_interval,
        by_name=_by_name,
        columns=_columns,
    )


def _length(bias: Mapping[str, Any]) -> str:
    if not bias["pairs"]:
        return "Length bias: no pairs to measure."
    chosen, rejected = (_number(bias[f"{side}_mean"], 1) for side in ("chosen", "rejected"))
    means = f"Length bias: the chosen side has {chosen} {bias['unit']} on average, the rejected {rejected}."
    if bias["longer"] is None:
        return f"{means} All pairs are of equal length."
    longer, low, high = (f"{100 * bias[name]:.0f} %" for name in ("longer", "low", "high"))
    share = f"Of {bias['pairs'] - bias['equal']} pairs of unequal length the chosen side is the longer one in {longer}"
    if bias["low"] <= 0.5 <= bias["high"]:
        verdict = "A preference for length is not shown."
    else:
        verdict = f"Mind it: the chosen side tends to be {'longer' if bias['low'] > 0.5 else 'shorter'}."
    return f"{means}\n{share} (95 % interval {low} to {high}).\n{verdict}"


def _successes(counts: Mapping[str, int]) -> str:
    if counts.get("successes"):
        return f"{counts['successes']} successes are there with every label true (localizer `outcome`), unexamined."
    return "Successes are left out, since a success can hold a wrong step."


def _number(value: float | None, digits: int = 3) -> str:
    return "none" if value is None else f"{value:.{digits}f}"


def _interval(row: Mapping[str, Any]) -> str:
    return "" if row["ci_low"] is None else f"{row['ci_low']:.3f} to {row['ci_high']:.3f}"


def _by_name(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in counts.items()) or "none"


def _columns(name: str) -> list[tuple[str, str, str]]:
    schema: pa.Schema = CONFIGS[name].schema
    return [(field.name, field.metadata[b"meaning"].decode(), field.metadata[b"unit"].decode()) for field in schema]
