"""The models that can be named, and what they can do."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from ..errors import MissingExtra
from ..models import EMBEDDED, load
from .common import print_columns, print_json


def add(verb: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    verb.add_argument("--json", action="store_true", help="print one object and nothing else")


def main(args: argparse.Namespace) -> int:
    """Print the shipped models with what they support, and the other kinds of name."""
    rows, missing = [], ""
    for name in EMBEDDED:
        try:
            model = load(name)
        except MissingExtra as error:
            missing = str(error)
            continue
        rows.append((name, model.name, model.dialect, model.supports))
    if args.json:
        data = [
            {"name": n, "identity": i, "dialect": d, "supports": {**asdict(s), "roles": sorted(s.roles)}}
            for n, i, d, s in rows
        ]
        print_json(data)
        return 0
    for name, identity, dialect, supports in rows:
        abilities = [k for k, v in asdict(supports).items() if v is True]
        roles = ", ".join(sorted(supports.roles))
        print_columns(
            [[name, identity, f"dialect {dialect}; context {supports.context}; roles {roles}; {', '.join(abilities)}"]]
        )
    if missing:
        print(f"embedded models: {missing}")
    print("local/PATH  a Hugging Face folder of a Llama-architecture model")
    print("fake/LAW    a scripted law with a known answer: iid, judge, refine, length")
    return 0
