"""The core schema of YAML 1.2, without references, custom tags or dates.

In: text of a settings file or of one value. Out: None, booleans, numbers, strings, lists and mappings. PyYAML
itself implements YAML 1.1, which reads `1e3` as a string, `on` as a boolean, `010` as 8 and `1:30` as 90.
"""

import re
from collections.abc import Callable
from typing import Any

import yaml

NULL, BOOL, INT, FLOAT, STR, SEQ, MAP = (
    f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map")
)
SCALARS: dict[str, tuple[str, Callable[[str], Any]]] = {
    NULL: (r"~|null|Null|NULL|", lambda text: None),
    BOOL: (r"true|True|TRUE|false|False|FALSE", lambda text: text.lower() == "true"),
    INT: (
        r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
        lambda text: int(text[2:], {"o": 8, "x": 16}[text[1]]) if text[1:2] in ("o", "x") else int(text),
    ),
    FLOAT: (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        lambda text: float(re.sub(r"\.(?=[inIN])", "", text)),
    ),
}
"""Tag -> pattern of its text, conversion. All other text is a string. Source: YAML 1.2.2, section 10.3.2."""
MAX_ERROR_CHARS = 300


class PlainLoader(yaml.SafeLoader):
    """A loader of plain values. It rejects references: nine lines of them can expand to billions of nodes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose a node; reject a reference."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("*references are not allowed")
        return super().compose_node(parent, index)

    def construct_scalar_value(self, node: Any) -> Any:
        """Return the value of a scalar with an implicit or explicit tag of `SCALARS`."""
        pattern, build = SCALARS[node.tag]
        if not re.fullmatch(pattern, node.value):
            kind = node.tag.rpartition(":")[2]
            raise yaml.constructor.ConstructorError(None, None, f"{node.value!r} is not a valid {kind}")
        return build(node.value)

    def construct_text(self, node: Any) -> Any:
        """Return a string."""
        return self.construct_scalar(node)

    def construct_whole_sequence(self, node: Any) -> list[Any]:
        """Return a list."""
        return self.construct_sequence(node, deep=True)

    def construct_unique_mapping(self, node: Any) -> dict[Any, Any]:
        """Return a mapping; reject duplicate keys."""
        pairs = [
            (self.construct_object(key, deep=True), self.construct_object(value, deep=True))
            for key, value in node.value
        ]
        mapping: dict[Any, Any] = {}
        for key, value in pairs:
            if isinstance(key, list | dict) or key in mapping:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key!r} is given twice, or cannot be a key", node.start_mark
                )
            mapping[key] = value
        return mapping

    def refuse(self, node: Any) -> Any:
        """Reject any other tag."""
        raise yaml.constructor.ConstructorError(None, None, f"tag {node.tag} is not allowed", node.start_mark)


class PlainDumper(yaml.SafeDumper):
    """A dumper that quotes strings that YAML 1.1 or 1.2 would read as another type."""


PlainLoader.yaml_implicit_resolvers = {}
PlainLoader.yaml_constructors = {}
for _tag, (_pattern, _) in SCALARS.items():
    _regexp = re.compile(rf"(?:{_pattern})\Z")
    PlainLoader.add_implicit_resolver(_tag, _regexp, None)
    PlainDumper.add_implicit_resolver(_tag, _regexp, None)
    PlainLoader.add_constructor(_tag, PlainLoader.construct_scalar_value)
PlainLoader.add_constructor(STR, PlainLoader.construct_text)
PlainLoader.add_constructor(SEQ, PlainLoader.construct_whole_sequence)
PlainLoader.add_constructor(MAP, PlainLoader.construct_unique_mapping)
PlainLoader.add_constructor(None, PlainLoader.refuse)


def parse_yaml(text: str | bytes) -> Any:
    """Return the value of a YAML document.

    Raises:
        ValueError: the text is not valid YAML; the message is one line.
    """
    try:
        return PlainLoader(text).get_single_data()
    except (ValueError, yaml.YAMLError) as error:  # ValueError: not text, or a number with too many digits
        raise ValueError(f"invalid YAML: {' '.join(str(error).split())[:MAX_ERROR_CHARS]}") from None
    except RecursionError:
        raise ValueError("invalid YAML: nested too deeply") from None


def format_yaml(value: Any) -> str:
    """Return plain values as YAML for `parse_yaml`."""
    return yaml.dump(value, Dumper=PlainDumper, sort_keys=False)
