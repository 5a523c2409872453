"""The models that can be named, and what they can do."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from ..errors import MissingExtra
from ..models import EMBEDDED, load
from ..models.http import TABLE
from .common import print_columns, print_json


def add(verb: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    verb.add_argument("--http", action="store_true", help="which field of a request goes under which key to a server")
    verb.add_argument("--json", action="store_true", help="print one object and nothing else")


def main(args: argparse.Namespace) -> int:
    """Print the shipped models with what they support, and the other kinds of name."""
    if args.http:
        return _http(args.json)
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
    print("local/PATH  a Hugging Face folder of a Llama, Qwen2 or Qwen3 model")
    print("fake/LAW    a scripted law with a known answer: iid, judge, refine, length")
    print("openai/NAME  a model of an OpenAI-compatible server (--base-url), or an alias of vervet.toml")
    print("python/FILE.py:NAME  a Python callable;  litellm/PROVIDER/MODEL  what the package litellm reaches")
    return 0


def _http(as_json: bool) -> int:
    """The table by which a request becomes the body of an HTTP request."""
    if as_json:
        print_json([asdict(row) for row in TABLE])
        return 0
    shown = {None: "refused", "": "not sent"}
    rows = [[r.field, shown.get(r.chat, r.chat), shown.get(r.completions, r.completions), r.note] for r in TABLE]
    print_columns([["field", "chat", "completions", ""], *rows])
    return 0
