"""From records to a verdict: pair the runs, judge every scene, and judge the headline as a family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from bench.analysis.decision import UNDECIDED, Decision, judge_together
from bench.analysis.evidence import Evidence, describe, too_early
from bench.analysis.executions import EXECUTIONS
from bench.analysis.overall import overall_pairs
from bench.analysis.pairing import Study, study_of
from bench.analysis.pairs import Pairs, pairs_of, primary_kernel, primary_scene
from bench.analysis.sentence import sentence
from bench.config import ProtocolConfig, protocol_hash


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The answer to a study's question.

    sentence: for a manager;  verdict: over all headline tasks together, or the only one's;
    evidence: every scene and two arms;  overall: all headline tasks together, as one fixed set, for each two arms;
    protocol_hash: of the protocol that judged;  changed: how it differs from the one that was stored before the runs,
    None where none was stored;  warnings: what a reader must know.
    """

    sentence: str
    verdict: str
    study: Study
    protocol: ProtocolConfig
    protocol_hash: str
    evidence: tuple[Evidence, ...]
    overall: tuple[Evidence, ...]
    changed: tuple[str, ...] | None = None
    warnings: tuple[str, ...] = ()

    @property
    def headline(self) -> tuple[Evidence, ...]:
        """The scenes at the primary matching and reading."""
        return tuple(entry for entry in self.evidence if entry.headline)


@dataclass(frozen=True)
class Judgement:
    """What the judge says of one scene. alone: by itself;  held: within the headline's family;  p_holm: adjusted."""

    pairs: Pairs
    alone: Decision
    held: Decision
    p_holm: float | None


def verdict(
    records: pd.DataFrame,
    protocol: ProtocolConfig,
    compare: str = "model.cell",
    stored: ProtocolConfig | None = None,
) -> Verdict:
    """Judge a table of records.

    records: as `bench.records` gives them;  compare: what tells the arms apart, a key or a group of the configuration;
    stored: the protocol that was fixed before the runs.
    Raises: `UserError` if there is no such key.
    """
    study = study_of(records, protocol, compare)
    judgements = {id(entry.pairs): entry for entry in judge(study, protocol)}
    evidence = []
    for entry in judgements.values():
        described = describe(entry.pairs, protocol)
        evidence.append(replace(described, held=entry.held, p_holm=entry.p_holm))
    headline = [entry.pairs for entry in judgements.values() if entry.pairs.headline]
    overall = [describe(pairs, protocol) for pairs in overall_pairs(headline)]
    shown = [entry for entry in evidence if entry.headline]
    answer = overall[0].verdict if len(overall) == 1 else shown[0].verdict if len(shown) == 1 else UNDECIDED
    return Verdict(
        sentence=sentence(study, shown, overall),
        verdict=answer,
        study=study,
        protocol=protocol,
        protocol_hash=protocol_hash(protocol),
        evidence=tuple(evidence),
        overall=tuple(overall),
        changed=None if stored is None else _changes(stored, protocol),
        warnings=tuple(_warnings(study, protocol, evidence)),
    )


def judge(study: Study, protocol: ProtocolConfig) -> list[Judgement]:
    """The verdict of every scene and two arms; those of the headline as one family (Holm), the others alone."""
    everything = pairs_of(study, protocol)
    cases = {index: case for index, pairs in enumerate(everything) if (case := pairs.case())}
    family = [index for index in cases if everything[index].headline]
    together = dict(zip(family, judge_together([cases[index] for index in family], protocol.alpha), strict=True))
    judgements = []
    for index, pairs in enumerate(everything):
        alone = cases[index].decide() if index in cases else too_early(pairs)
        held, p_holm = together.get(index, (alone, None))
        judgements.append(Judgement(pairs, alone, held, p_holm))
    return judgements


def _changes(stored: ProtocolConfig, protocol: ProtocolConfig) -> tuple[str, ...]:
    before: Mapping[str, object] = vars(stored)
    after: Mapping[str, object] = vars(protocol)
    return tuple(
        f"{name}: {before[name]} before the runs, {after[name]} now"
        for name in after
        if name != "name" and before.get(name) != after[name]
    )


def _warnings(study: Study, protocol: ProtocolConfig, evidence: Sequence[Evidence]) -> list[str]:
    """What a reader must know before believing the headline."""
    lines = []
    matching, pooling = primary_scene(study, protocol)
    if study.scenes and matching != protocol.matching:
        lines.append(f"no pairs at equal {protocol.matching}: the headline is at equal {matching}")
    if study.scenes and pooling not in ("", protocol.pooling):
        lines.append(f"no pairs with pooling={protocol.pooling}: the headline reads pooling={pooling}")
    executions = [name for name in EXECUTIONS if any(scene.execution == name for scene in study.scenes)]
    if len(executions) > 1:
        shown = " and ".join(f"model.kernel={name}" for name in executions)
        lines.append(f"runs under {shown}: the headline is {primary_kernel(study, protocol)}, the others describe")
    extra = sum(entry.extra_seeds for entry in evidence if entry.headline)
    if extra:
        looks = ", ".join(map(str, protocol.looks))
        lines.append(
            f"{extra} pair{'s'[: extra != 1]} of runs lie{'s'[: extra == 1]} beyond the look that was judged (looks at "
            f"{looks} seeds): not read yet"
        )
    return lines
