"""Sentences that remember how they were made, so that a report can say them in another language.

A `Phrase` is English text. It also holds the template and the named values that the text was made from. A check says
`saw(answer.seen, expected=phrase("200 from {url}", url=answer.url))`. `gli.report.korean` has the Korean of each
template. A plain string is a value (a name, a number, the words of a target) and is the same in every language.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import core_schema

_SAW = "expected {expected}, saw {seen}"
_NOTHING = "nothing"
_MORE = "{items} and {more} more"
_NO_VALUES: Mapping[str, Phrase] = MappingProxyType({})
_FORMATTER = string.Formatter()


class Phrase(str):
    """English text of one line, with what it was made from.

    It has a `template` with named `values`, or `items` of an enumeration, or neither: then it is a value itself.
    """

    __slots__ = ("items", "template", "values")
    template: str
    values: Mapping[str, Phrase]
    items: tuple[Phrase, ...]

    def __new__(
        cls,
        text: str,
        template: str = "",
        values: Mapping[str, Phrase] = _NO_VALUES,
        items: tuple[Phrase, ...] = (),
    ) -> Phrase:
        made = super().__new__(cls, " ".join(text.split()))
        made.template, made.values, made.items = template, values, items
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return Phrase, (str(self), self.template, dict(self.values), self.items)

    def filled(self, template: str, say: Callable[[Phrase], str] = str) -> str:
        """The template, which may be of another language, with this phrase's values as `say` says them.

        Raises `KeyError` for a field without a value.
        """
        parts = _FORMATTER.parse(template)
        return "".join(text + (say(self.values[field]) if field is not None else "") for text, field, _, _ in parts)

    def without(self, hide: Callable[[str], str]) -> Phrase:
        """The phrase with secrets hidden; only its text, where hiding its parts does not come to the same."""
        text = hide(str(self))
        parts = {name: value.without(hide) for name, value in self.values.items()}
        return _agreeing(text, self.template, parts, tuple(item.without(hide) for item in self.items))

    def document(self) -> str | dict[str, Any]:
        """As JSON holds it: a value is its text, everything else also says what it was made from."""
        if self.template:
            values = {name: value.document() for name, value in self.values.items()}
            return {"text": str(self), "template": self.template, "values": values}
        if self.items:
            return {"text": str(self), "items": [item.document() for item in self.items]}
        return str(self)


def phrase(template: str, /, **values: object) -> Phrase:
    """The template with the values in the places that name them: `phrase("{left:.1f} days", left=7.25)`.

    A value can be a phrase. Raises `KeyError` for a field of the template without a value.
    """
    made: dict[str, Phrase] = {}
    for _, field, spec, conversion in _FORMATTER.parse(template):
        if field is not None:
            value = _FORMATTER.convert_field(values[field], conversion)
            made[field] = of(format(value, spec) if spec else value)
    return Phrase(Phrase("", template, made).filled(template), template, made)


def of(value: object) -> Phrase:
    """A value as a phrase; what is one already, or says so as its text, stays as it is."""
    text = value if isinstance(value, str) else str(value)
    return text if isinstance(text, Phrase) else Phrase(text)


def saw(seen: object, *, expected: object) -> Phrase:
    """`expected 200, saw 503 text/html`: one line, whatever the values hold."""
    return phrase(_SAW, expected=expected, seen=seen)


def expected_and_seen(said: str) -> tuple[Phrase | None, Phrase]:
    """What was expected and what was seen, of what `saw` returned; any other text is what was seen."""
    if isinstance(said, Phrase) and said.template == _SAW:
        return said.values["expected"], said.values["seen"]
    return None, of(said)


def listed(items: Iterable[object], *, most: int = 5) -> Phrase:
    """`a, b and c`; a long list ends in how many more there are, an empty one is `nothing`."""
    phrases = tuple(of(i) for i in items)
    if not phrases:
        return phrase(_NOTHING)
    if len(phrases) > most:
        shown = Phrase(", ".join(phrases[:most]), items=phrases[:most])
        return phrase(_MORE, items=shown, more=len(phrases) - most)
    if len(phrases) == 1:
        return phrases[0]
    return Phrase(_enumerated(phrases), items=phrases)


def _enumerated(items: tuple[Phrase, ...]) -> str:
    return " and ".join(filter(None, [", ".join(items[:-1]), items[-1]]))


def _agreeing(text: str, template: str, values: Mapping[str, Phrase], items: tuple[Phrase, ...]) -> Phrase:
    """The phrase of these parts where its text is theirs, else the text alone: each language says the same."""
    made = Phrase(text, template, values, items)
    try:
        agrees = not template or Phrase(made.filled(template)) == made
    except (KeyError, ValueError):
        agrees = False
    if items:
        agrees = not template and made in (_enumerated(items), ", ".join(items))
    return made if agrees else Phrase(text)


def read(value: Any) -> Phrase:
    """A phrase of its JSON; raises `ValueError` for anything else."""
    if isinstance(value, str):
        return of(value)
    if not isinstance(value, dict) or not isinstance(value.get("text"), str):
        raise ValueError("a text, or an object with the text and what it was made from")
    template, values, items = value.get("template", ""), value.get("values", {}), value.get("items", [])
    if not (isinstance(template, str) and isinstance(values, dict) and isinstance(items, list | tuple)):
        raise ValueError("a phrase has a template with values, or items")
    parts = {str(name): read(part) for name, part in values.items()}
    return _agreeing(value["text"], template, parts, tuple(read(item) for item in items))


class _Said:
    """How pydantic reads and writes a phrase. What hides secrets can be given as the context of a validation."""

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        def validated(value: Any, info: ValidationInfo) -> Phrase:
            said = read(value)
            return said.without(info.context) if info.context else said

        written = core_schema.plain_serializer_function_ser_schema(lambda said: of(said).document())
        return core_schema.with_info_plain_validator_function(validated, serialization=written)

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: Any, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        parts = {"text": {"type": "string"}, "template": {"type": "string"}}
        parts |= {"values": {"type": "object"}, "items": {"type": "array"}}
        return {"anyOf": [{"type": "string"}, {"type": "object", "required": ["text"], "properties": parts}]}


Said = Annotated[str, _Said]
"""The type of a model's field that holds a phrase: English text that can be said in another language too."""
