"""The datasets of the hub that `conf/data` names, as they are there but for their rows: a few of each class.

Ids, configurations, files, splits, columns and class names are those of the pages below https://huggingface.co/datasets
(files: `<id>/tree/main`; features: the head of `README.md`, where there is one), written down here a second time: a
wrong name in `conf/data` meets a hub that does not know it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

Row = dict[str, object]

GROUPS = [
    "alt.atheism", "comp.graphics", "comp.os.ms-windows.misc", "comp.sys.ibm.pc.hardware", "comp.sys.mac.hardware",
    "comp.windows.x", "misc.forsale", "rec.autos", "rec.motorcycles", "rec.sport.baseball", "rec.sport.hockey",
    "sci.crypt", "sci.electronics", "sci.med", "sci.space", "soc.religion.christian", "talk.politics.guns",
    "talk.politics.mideast", "talk.politics.misc", "talk.religion.misc",
]  # fmt: skip
KINDS = [
    "Company", "EducationalInstitution", "Artist", "Athlete", "OfficeHolder", "MeanOfTransportation", "Building",
    "NaturalPlace", "Village", "Animal", "Plant", "Album", "Film", "WrittenWork",
]  # fmt: skip
GRADES = ["very negative", "negative", "neutral", "positive", "very positive"]
TREC = ["ENTY", "DESC", "NUM", "HUM", "LOC", "ABBR"]  # the hub numbers the coarse classes otherwise than we do


@dataclass(frozen=True)
class Repository:
    """A dataset: its files by split, and what stands in a row.

    classes: in the hub's order of numbers;  label: the column that is asked for, when it holds names;  declared:
    whether the card says which number is which class.
    """

    id: str
    files: Mapping[str, str]
    classes: Sequence[str]
    text: str = "text"
    label: str | None = None
    config: str = "default"
    declared: bool = False
    beside: Sequence[str] = ()  # files that are no data

    def row(self, split: str, number: int) -> Row:
        """A row of the class `number` mod their number, with the columns that the dataset has."""
        index = number % len(self.classes)
        name, text = self.classes[index], f"{split} {number}: {self.classes[index]}"
        if self.id == "SetFit/TREC-QC":
            fine = {"label": 7, "label_text": "a fine class", "label_original": f"{name}:fine"}
            return {"text": text, **fine, "label_coarse": index, "label_coarse_text": "", "label_coarse_original": name}
        if self.id == "fancyzhx/dbpedia_14":
            return {"label": index, "title": f"title of {number}", "content": text}
        if self.id == "psytechlab/RuSentiTweet":
            return {"text": text, "label": name, "id": 10**18 + number}
        if self.id.startswith("SetFit/"):
            return {"text": text, "label": index, "label_text": name}
        return {"text": text, "label": index}

    def write(self, folder: Path) -> None:
        """Lay the dataset out below a folder that a `HubServer` serves: four rows a class to train, two otherwise."""
        home = folder / self.id
        for split, file in self.files.items():
            rows = [self.row(split, number) for number in range(len(self.classes) * (4 if split == "train" else 2))]
            (home / file).parent.mkdir(parents=True, exist_ok=True)
            if file.endswith(".jsonl"):
                (home / file).write_text("".join(json.dumps(row) + "\n" for row in rows))
            else:
                pq.write_table(pa.Table.from_pylist(rows), home / file)
        for name in self.beside:
            (home / name).write_text("no data\n")
        if any(file.endswith(".parquet") for file in self.files.values()):
            (home / "README.md").write_text(self._card())

    def _card(self) -> str:
        columns = [name for name in self.row("train", 0) if name != "label" or not self.declared]
        lines = ["---", "dataset_info:", f"  config_name: {self.config}", "  features:"]
        for name in columns:
            lines += [f"  - name: {name}", f"    dtype: {'int64' if name == 'id' else 'string'}"]
        if self.declared:
            lines += ["  - name: label", "    dtype:", "      class_label:", "        names:"]
            lines += [f"          '{number}': '{name}'" for number, name in enumerate(self.classes)]
        lines += ["configs:", f"- config_name: {self.config}", "  data_files:"]
        for split, file in self.files.items():
            lines += [f"  - split: {split}", f"    path: {file}"]
        return "\n".join([*lines, "---", ""])


def _parquet(folder: str, *splits: str) -> dict[str, str]:
    return {split: f"{folder}/{split}-00000-of-00001.parquet" for split in splits}


_JSON = {"train": "train.jsonl", "test": "test.jsonl"}
_JSON_DEV = {"train": "train.jsonl", "validation": "dev.jsonl", "test": "test.jsonl"}

REPOSITORIES: Mapping[str, Repository] = {
    "imdb": Repository(
        "stanfordnlp/imdb", _parquet("plain_text", "train", "test"), ["neg", "pos"], config="plain_text", declared=True
    ),
    "sst2": Repository("SetFit/sst2", _JSON_DEV, ["negative", "positive"]),
    "sst5": Repository("SetFit/sst5", _JSON_DEV, GRADES),
    "ag_news": Repository(
        "fancyzhx/ag_news", _parquet("data", "train", "test"), ["World", "Sports", "Business", "Sci/Tech"],
        declared=True,
    ),
    "trec6": Repository(
        "SetFit/TREC-QC", _JSON, TREC, label="label_coarse_original",
        beside=["prepare.py", "question_types.txt", "train_5500.label", "TREC_10.label"],
    ),
    "mr": Repository(
        "cornell-movie-review-data/rotten_tomatoes",
        {split: f"{split}.parquet" for split in ("train", "validation", "test")}, ["neg", "pos"], declared=True,
    ),
    "cr": Repository(
        "SetFit/SentEval-CR", _JSON, ["negative", "positive"],
        beside=["create_dataset.ipynb", "custrev.neg", "custrev.pos"],
    ),
    "subj": Repository("SetFit/subj", _JSON, ["objective", "subjective"]),
    "yelp_polarity": Repository(
        "fancyzhx/yelp_polarity", _parquet("plain_text", "train", "test"), ["1", "2"], config="plain_text",
        declared=True,
    ),
    "dbpedia14": Repository(
        "fancyzhx/dbpedia_14", _parquet("dbpedia_14", "train", "test"), KINDS, text="content", config="dbpedia_14",
        declared=True,
    ),
    "newsgroups20": Repository("SetFit/20_newsgroups", _JSON, GROUPS, beside=["create_dataset.py"]),
    "rusentitweet": Repository(
        "psytechlab/RuSentiTweet", _parquet("data", "train", "test", "val"),
        ["negative", "neutral", "positive", "speech", "skip"], label="label",
    ),
}  # fmt: skip
