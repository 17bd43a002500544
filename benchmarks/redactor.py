"""The redactor over texts of 1 MB that an attacker or a page may send: milliseconds of processor time for each.

    .venv/bin/python benchmarks/redactor.py [ROUNDS]

Each figure is the least of the rounds. Time must grow only with the length: the last column is the ratio of 1 MB to
250 kB, divided by four, so 1.0 is linear.
"""

from __future__ import annotations

import base64
import json
import random
import string
import sys
import time

from gli.report.redact import Redactor

SIZE = 1_000_000
_LETTERS = string.ascii_letters + string.digits + "+/"


def texts() -> dict[str, str]:
    """The texts by name, the same in every run."""
    chance = random.Random(1)
    words = ["".join(chance.choices(string.ascii_lowercase, k=chance.randint(2, 10))) for _ in range(5000)]
    some = chance.choices(words, k=200_000)
    prose, letters = " ".join(some), "".join(chance.choices(_LETTERS, k=SIZE))

    def encoded(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    found = {
        "prose": prose,
        "JSON": json.dumps([{"name": w, "url": f"https://a.example/{w}?x=1", "token_count": len(w)} for w in some]),
        "HTML": "".join(f'<div class="{w}"><a href="https://h.example/{w}%20x">{w}</a></div>\n' for w in some),
        "base64 that is no text": letters,
        "words of base64": " ".join(letters[n : n + 40] for n in range(0, SIZE, 40)),
        "wrapped base64": "\n".join(letters[n : n + 76] for n in range(0, SIZE, 76)),
        "base64 of prose": encoded(prose),
        "many words in base64": " ".join(encoded(f"{w}{w}{n}") for n, w in enumerate(some)),
        "many secrets in base64": " ".join(encoded(f"password=abcdef{n}") for n in range(60_000)),
        "many words with percent signs": " ".join(f"{w}%20{n}" for n, w in enumerate(some)),
        "many secrets with percent signs": " ".join(f"p%61ssword=abcdefg{n}" for n in range(60_000)),
    }
    for part in (
        *("\\u0041", "&#65;", "\\x41", "<b>", "\x1b[31m", "\x1b]", "\u200b", "\\n", "&lt;"),
        *("a", " ", '"', "\n", "%25", "a%20b ", "://", "-eyJ", "token=", "x-token", "ghp_", "\x1b[", "가나다 "),
        *("cookie: a=b; ", "authorization: ", "password: abcdefg ", "-----BEGIN PRIVATE KEY-----"),
    ):
        found[f"{part!r} again and again"] = part * (SIZE // len(part) + 1)
    found["many signs of HTML"] = "".join(f"&#{n};" for n in range(SIZE // 6))
    return {name: text[:SIZE] for name, text in found.items()}


def seconds(text: str, rounds: int) -> float:
    """The least processor time of the rounds, each with a redactor that knows a dozen secrets."""
    least = float("inf")
    for _ in range(rounds):
        redactor = Redactor(f"s3cr3t-{n}-abcdef" for n in range(12))
        begun = time.process_time()
        redactor.text(text)
        least = min(least, time.process_time() - begun)
    return least


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    for name, text in texts().items():
        whole, quarter = seconds(text, rounds), seconds(text[: SIZE // 4], rounds)
        print(f"{name:50} {whole * 1000:6.0f} ms/MB   {whole / quarter / 4:4.1f}")


if __name__ == "__main__":
    main()
