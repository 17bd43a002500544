"""Sentences that remember how they were made, so that a report can say them in another language.

A `Phrase` is English text that also holds its template and the values in it. A check says
`saw(answer.seen, expected=phrase("200 from {}", answer.url))`. `gli.report.phrases` has the Korean of each template.
A plain string is a value (a name, a number, the words of a target) and is the same in every language.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Annotated, Any

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
    from pydantic_core import core_schema

_SAW = "expected {}, saw {}"
_NOTHING = "nothing"
_MORE = "{} and {} more"
_FORMATTER = string.Formatter()


class Phrase(str):
    """English text of one line, with the parts that it was made from.

    A phrase with a `template` fills the template's fields with its `values`, in order. A list has values and no
    template. A plain value has neither.
    """

    __slots__ = ("template", "values")
    template: str
    values: tuple[Phrase, ...]

    def __new__(cls, text: str, template: str = "", values: tuple[Phrase, ...] = ()) -> Phrase:
        made = super().__new__(cls, " ".join(text.split()))
        made.template, made.values = template, values
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return Phrase, (str(self), self.template, self.values)

    def without(self, hide: Callable[[str], str]) -> Phrase:
        """The phrase with its secrets hidden. If hiding its values one by one gives another text, only the hidden text
        is kept.
        """
        return _agreeing(hide(str(self)), self.template, tuple(value.without(hide) for value in self.values))

    def document(self) -> str | dict[str, Any]:
        """The phrase for JSON: a plain value is its text; every other phrase also holds the parts that it was made
        from.
        """
        if not self.values and not self.template:
            return str(self)
        return {"text": str(self), "template": self.template, "values": [value.document() for value in self.values]}


def phrase(template: str, /, *values: object) -> Phrase:
    """The template with the values in its fields: `phrase("{:.1f} days, until {}", 7.25, until)`.

    A value can be a phrase. Raises `IndexError` where there are fewer values than fields.
    """
    plain, made = "", list[Phrase]()
    for text, field, spec, conversion in _FORMATTER.parse(template):
        plain += text.replace("{", "{{").replace("}", "}}")
        if field is not None:
            value = _FORMATTER.convert_field(values[len(made)], conversion)
            made.append(of(format(value, spec) if spec else value))
            plain += "{}"
    return Phrase(filled(plain, made), plain, tuple(made))


def filled(template: str, values: Sequence[str]) -> str:
    """The template with the values in its fields, in their order or as the fields number them: `{1}, {0}`.

    Raises `IndexError` or `ValueError` for a field without a value.
    """
    text, at = "", 0
    for literal, field, _, _ in _FORMATTER.parse(template):
        text += literal
        if field is not None:
            text += values[int(field) if field else at]
            at += 1
    return text


def of(value: object) -> Phrase:
    """The value as a phrase. A phrase stays as it is."""
    text = value if isinstance(value, str) else str(value)
    return text if isinstance(text, Phrase) else Phrase(text)


def saw(seen: object, *, expected: object) -> Phrase:
    """`expected 200, saw 503 text/html`: one line, whatever the values hold."""
    return phrase(_SAW, expected, seen)


def expected_and_seen(said: str) -> tuple[Phrase | None, Phrase]:
    """The two parts of a text that `saw` returned: what was expected, what was seen. Any other text counts as seen."""
    if isinstance(said, Phrase) and said.template == _SAW:
        expected, seen = said.values
        return expected, seen
    return None, of(said)


def listed(items: Iterable[object], *, most: int = 5) -> Phrase:
    """`a, b and c`. A long list ends with the number of the entries left out; an empty list is `nothing`."""
    phrases = tuple(of(i) for i in items)
    if len(phrases) > most:
        return phrase(_MORE, Phrase(", ".join(phrases[:most]), values=phrases[:most]), len(phrases) - most)
    if len(phrases) < 2:
        return phrases[0] if phrases else phrase(_NOTHING)
    return Phrase(_enumerated(phrases), values=phrases)


def either(items: Iterable[object]) -> Phrase:
    """`a or b`."""
    return of(reduce(lambda one, other: phrase("{} or {}", one, other), items))


def _enumerated(values: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(values[:-1]), values[-1]]))


def _agreeing(text: str, template: str, values: tuple[Phrase, ...]) -> Phrase:
    """The phrase with these parts if they give this text, else the text alone: all languages must say the same."""
    made = Phrase(text, template, values)
    try:
        if template:
            agrees = made == Phrase(filled(template, values))
        else:
            agrees = not values or made in (Phrase(_enumerated(values)), Phrase(", ".join(values)))
    except (IndexError, ValueError):
        agrees = False
    return made if agrees else Phrase(text)


def read(value: Any) -> Phrase:
    """The phrase that its JSON describes; raises `ValueError` for any other JSON."""
    if isinstance(value, str):
        return of(value)
    if not isinstance(value, dict) or not isinstance(value.get("text"), str):
        raise ValueError("a text, or an object with the text and what it was made from")
    template, values = value.get("template", ""), value.get("values", [])
    if not isinstance(template, str) or not isinstance(values, list | tuple):
        raise ValueError("what a text was made from is a template and a list of values")
    return _agreeing(value["text"], template, tuple(read(part) for part in values))


class _Said:
    """How pydantic reads and writes a phrase. The context of a validation can hold the function that hides secrets."""

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        from pydantic_core import core_schema

        def validated(value: Any, info: ValidationInfo) -> Phrase:
            said = read(value)
            return said.without(info.context) if info.context else said

        written = core_schema.plain_serializer_function_ser_schema(lambda said: of(said).document())
        return core_schema.with_info_plain_validator_function(validated, serialization=written)

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: Any, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        parts = {"text": {"type": "string"}, "template": {"type": "string"}, "values": {"type": "array"}}
        return {"anyOf": [{"type": "string"}, {"type": "object", "required": ["text"], "properties": parts}]}


Said = Annotated[str, _Said]
"""The type of a model's field that holds a phrase: English text that can be said in another language too."""
