"""The six verification words of section 5."""

from pathlib import Path

from primitives import sha256

# The repository has the EFF Large Wordlist as a data file; section 14 has its hash.
LIST = Path(__file__).parents[2] / "src" / "proto" / "words.txt"
LIST_SHA256 = "6d557f0693958fb5e650b68b5bee585eb82cf4da32965505c789e924743bc522"


def _load() -> list[str]:
    data = LIST.read_bytes()
    if sha256(data).hex() != LIST_SHA256:
        raise ValueError(f"{LIST} is another word list")
    return data.decode().splitlines()


WORDS = _load()


def six_words(number: int) -> str:
    chosen = []
    for _ in range(6):
        number, index = divmod(number, len(WORDS))
        chosen.append(WORDS[index])
    return " ".join(chosen)
