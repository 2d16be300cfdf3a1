"""Tokens of words and characters, in any script."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data.tokens.text import TokenRules, encode_texts, tokenise

CHARACTERS = TokenRules(tokens="char")
RULES = [
    TokenRules(),
    TokenRules(lowercase=False, unicode_form=None),
    TokenRules(strip_html=True, unicode_form="NFKC"),
    CHARACTERS,
    TokenRules(tokens="char", lowercase=False, strip_html=True, unicode_form=None),
]


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("It's GREAT, isn't it?", ["it", "'s", "great", ",", "is", "n't", "it", "?"]),
        ("do n't", ["do", "n't"]),
        ("Это НЕ плохо!", ["это", "не", "плохо", "!"]),
        ("a_b 3.5 naïve", ["a_b", "3", ".", "5", "naïve"]),
        ("   ", []),
        ("Ёлка и йод", ["ёлка", "и", "йод"]),
        ("हिन्दी में है", ["हिन्दी", "में", "है"]),
        ("ภาษาไทยดีที่สุด", ["ภาษาไทยดีที่สุด"]),
        ("السَّلامُ عليكم", ["السَّلامُ", "عليكم"]),
        ("我喜欢这部电影。", ["我喜欢这部电影", "。"]),
        ("great 👍🏽❤️!", ["great", "👍", "🏽", "❤️", "!"]),
    ],
)
def test_words_and_punctuation(written: str, words: list[str]) -> None:
    assert tokenise(written) == words


def test_a_letter_and_its_accent_are_one_word_however_they_are_written() -> None:
    composed, decomposed = "Чай, ёж: naïve", unicodedata.normalize("NFD", "Чай, ёж: naïve")
    assert composed != decomposed
    assert tokenise(decomposed) == tokenise(composed) == ["чай", ",", "ёж", ":", "naïve"]
    as_written = tokenise(decomposed, TokenRules(unicode_form=None))
    assert as_written != tokenise(composed)
    assert [unicodedata.normalize("NFC", word) for word in as_written] == tokenise(composed), "no word falls apart"


def test_compatibility_forms_are_united_only_where_asked() -> None:
    assert tokenise("ｆｉｌｍ ﬁne", TokenRules(unicode_form="NFKC")) == ["film", "fine"]
    assert tokenise("ｆｉｌｍ ﬁne") == ["ｆｉｌｍ", "ﬁne"]


def test_markup_becomes_blanks_only_where_asked() -> None:
    assert tokenise("good<br /><br />film 1 < 2", TokenRules(strip_html=True)) == ["good", "film", "1", "<", "2"]
    assert "<" in tokenise("good<br />film")


def test_case_is_kept_where_asked() -> None:
    assert tokenise("Big Ben", TokenRules(lowercase=False)) == ["Big", "Ben"]
    assert tokenise("Big Ben", TokenRules(tokens="char", lowercase=False)) == list("Big Ben")


def test_characters_are_tokens_blanks_included() -> None:
    assert tokenise("Ну, да\n", CHARACTERS) == ["н", "у", ",", " ", "д", "а", "\n"]
    assert tokenise("a<br>b", TokenRules(tokens="char", strip_html=True)) == ["a", " ", "b"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=40), max_size=8), st.sampled_from(RULES))
def test_encoding_loses_no_token_and_counts_words_as_they_appear(texts: list[str], rules: TokenRules) -> None:
    encoded = encode_texts(texts, rules)
    words = [encoded.words[k] for k in encoded.ids]
    assert words == [word for text in texts for word in tokenise(text, rules) or [""]]
    assert encoded.lengths.tolist() == [len(tokenise(text, rules)) or 1 for text in texts]
    assert encoded.words == list(dict.fromkeys(words))
