"""``--config``: options of a command from a YAML file; the command line wins over it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from registry.errors import did_you_mean


def _read(ctx: click.Context, param: click.Parameter, path: str | None) -> None:
    if path is None:
        return
    known = _names(ctx.command)
    values: dict[str, Any] = {}
    for key, value, line in _entries(path):
        where = f"{path}, line {line}"
        name = key.replace("-", "_")
        if name not in known:
            raise click.UsageError(
                f"{where}: there is no setting {key!r}.{did_you_mean(name, known)}", ctx
            )
        option = known[name]
        if option.name in values:
            raise click.UsageError(f"{where}: {key!r} is there twice.", ctx)
        given = [value] if isinstance(value, str) and _takes_several(option) else value
        try:
            option.process_value(ctx, given)
        except click.BadParameter as error:
            raise click.UsageError(f"{where}: {key}: {error.message}", ctx) from error
        values[str(option.name)] = given
    ctx.default_map = {**(ctx.default_map or {}), **values}


config_option = click.option(
    "--config",
    metavar="FILE",
    is_eager=True,
    expose_value=False,
    callback=_read,
    help="YAML file with any of these options; those on the command line win.",
)


def _names(command: click.Command) -> dict[str, click.Parameter]:
    """The settings of a command: each by its parameter's name, and as its option is spelled."""
    known: dict[str, click.Parameter] = {}
    for param in command.params:
        if param.name not in ("config", "as_json", "help"):
            spelled = (name.lstrip("-").replace("-", "_") for name in param.opts)
            known |= dict.fromkeys((str(param.name), *spelled), param)
    return known


def _takes_several(option: click.Parameter) -> bool:
    return option.nargs == -1 or getattr(option, "multiple", False)


def _entries(path: str) -> list[tuple[str, Any, int]]:
    """The keys of a file, what is said of each, and its line."""
    import yaml

    try:
        # Every value is text, as on the command line, and read by the option itself.
        node = yaml.compose(Path(path).read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    except OSError as error:
        raise click.UsageError(f"{path} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = path if mark is None else f"{path}, line {mark.line + 1}"
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise click.UsageError(f"{where}: this is not YAML: {problem}.") from error
    if not isinstance(node, yaml.MappingNode):
        raise click.UsageError(f"{path}: expected settings, each as NAME: VALUE.")
    return [(key.value, _value(value, path), key.start_mark.line + 1) for key, value in node.value]


def _value(node: Any, path: str) -> Any:
    """A text; a list of texts; or a mapping as a list of texts of the form ``name=value``."""
    import yaml

    if isinstance(node, yaml.ScalarNode):
        return node.value
    if isinstance(node, yaml.SequenceNode):
        if all(isinstance(one, yaml.ScalarNode) for one in node.value):
            return [one.value for one in node.value]
    elif all(isinstance(one, yaml.ScalarNode) for pair in node.value for one in pair):
        return [f"{name.value}={value.value}" for name, value in node.value]
    line = node.start_mark.line + 1
    raise click.UsageError(f"{path}, line {line}: expected a value, a list, or names with values.")
