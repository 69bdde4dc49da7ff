"""Rows as pyarrow (25.0.0), the library behind pandas and Hugging Face's datasets, writes them in Parquet.

usage: make_parquet.py FOLDER

chats_snappy.parquet   a list of messages per row, nulls among the optional columns
rows_gzip.parquet      plain columns in two row groups, dictionary pages of version 2
rows_zstd.parquet      a codec that is C: to be refused by name
expected.json          what the first two hold
"""

import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
CHATS = [
    [("user", "Which dose of paracetamol?"), ("assistant", "500 mg to 1 g.")],
    [("system", "Be brief."), ("user", "Größe?"), ("assistant", "1,80 m"), ("user", "Gewicht?"), ("assistant", "75 kg")],
    [("user", "No answer follows.")],
]


def main(folder: Path) -> None:
    chats = [[{"role": role, "content": content} for role, content in chat] for chat in CHATS]
    table = pa.table({
        "messages": pa.array(chats, pa.list_(MESSAGE)),
        "category": pa.array(["qa", None, "qa"], pa.string()),
        "score": pa.array([0.5, None, 1.5], pa.float32()),
    })
    pq.write_table(table, folder / "chats_snappy.parquet", compression="snappy")
    rows = [
        {"instruction": f"Name drug {n}.", "input": None if n % 3 else f"Patient {n}", "output": f"drug {n % 4}"}
        for n in range(40)
    ]
    rows[7]["output"] = None
    plain = pa.Table.from_pylist(rows)
    pq.write_table(plain, folder / "rows_gzip.parquet", compression="gzip", row_group_size=25, data_page_version="2.0")
    pq.write_table(plain, folder / "rows_zstd.parquet", compression="zstd")
    expected = {"chats": CHATS, "rows": rows}
    text = json.dumps(expected, ensure_ascii=False, indent=1, sort_keys=True)
    (folder / "expected.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
