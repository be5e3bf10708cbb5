"""Writes the page of all settings: `python tests/settings_page.py > docs/settings.md`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from headstart.config import (
    FinetuneSettings,
    PretrainSettings,
    PromptSettings,
    ReadSettings,
    ReportSettings,
)
from headstart.settings_file import describe, setting_names, verb_of

KINDS = (PretrainSettings, FinetuneSettings, ReportSettings)
HEAD = """# All settings

```bash
headstart pretrain docs/ --set optimizer.lr=1e-3 --set model.num_layers=6
headstart pretrain --config runs/docs/run.yaml            # repeats that run
```

Every setting of every verb, with what it takes, its default, its unit and where the default comes
from. `--set NAME=VALUE` reaches each of them; a file given by `--config` holds them nested:

```yaml
model:
  size: small
optimizer:
  lr: 1e-3
```

Defaults give way to the file, the file to flags, flags to `--set`. This page is made from the code
by `python tests/settings_page.py > docs/settings.md`; a test keeps it current.
"""


def page() -> str:
    """The page as text."""
    parts = [HEAD]
    verbs = {kind: f"headstart {verb_of(kind)}" for kind in KINDS}
    verbs[ReadSettings] = "headstart check, evaluate, predict, compare"
    verbs[PromptSettings] = "headstart generate"
    for kind, title in verbs.items():
        parts.append(f"## {title}\n")
        parts.append("| name | what it is | takes | default | unit | source of the default |")
        parts.append("|---|---|---|---|---|---|")
        parts += [row(kind, name, info) for name, info in setting_names(kind)]
        parts.append("")
    return "\n".join(parts)


def row(kind, name, info) -> str:
    """One line of a table."""
    extra = info.json_schema_extra or {}
    default = kind()
    for part in name.split("."):
        default = getattr(default, part)
    shown = default
    if default is None or isinstance(default, bool) or default == ():
        shown = {None: "null", True: "true", False: "false", (): "[]"}[default]
    if isinstance(default, tuple) and default:
        shown = "[" + ", ".join(map(str, default)) + "]"
    cells = [f"`{name}`", info.description, describe(info), f"`{shown}`"]
    cells += [extra.get("unit", ""), extra.get("source", "")]
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    sys.stdout.write(page())
