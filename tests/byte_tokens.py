"""A tokenizer of bytes, with one id for each turn mark."""

MARKS = {"<|im_start|>": 1001, "<|im_end|>": 1002}


def tokenise(text: str) -> list[int]:
    """Bytes, and one id for each turn mark."""
    ids: list[int] = []
    while text:
        mark = next((mark for mark in MARKS if text.startswith(mark)), "")
        ids += [MARKS[mark]] if mark else text[0].encode()
        text = text[len(mark) or 1 :]
    return ids


def decode(ids: list[int]) -> str:
    names = {token: mark.encode() for mark, token in MARKS.items()}
    return b"".join(names.get(token) or bytes([token]) for token in ids).decode()
