//! How text is compared: one folding and one way to cut words, used by queries and by the index alike, so that both
//! see the same words.

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// Text without case, accents and compatibility forms: NFKC of what is left. Pure; folding twice changes nothing.
pub fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    fold_into(text, &mut folded);
    folded
}

/// As [`fold`], into a buffer that is emptied first: searches fold thousands of names.
pub fn fold_into(text: &str, folded: &mut String) {
    folded.clear();
    if text.is_ascii() {
        folded.push_str(text);
        folded.make_ascii_lowercase();
        return;
    }
    let once = |text: &str| -> String {
        text.nfkd()
            .filter(|c| !is_accent(*c))
            // Through upper case, because only that unites `ß` with `SS` and `ς` with `σ`.
            .flat_map(char::to_uppercase)
            .flat_map(char::to_lowercase)
            .nfkd()
            .filter(|c| !is_accent(*c))
            .flat_map(without_stroke)
            .nfkc()
            .collect()
    };
    *folded = once(text);
    // A handful of characters need a second pass; the bound is for the rest of Unicode's future.
    for _ in 0..3 {
        let again = once(folded);
        if again == *folded {
            break;
        }
        *folded = again;
    }
}

/// The words of folded text: runs of letters, digits and their marks. Scripts written without spaces give one word a
/// character, so that any part of a name is found.
pub fn words(folded: &str) -> impl Iterator<Item = &str> {
    let mut rest = folded;
    std::iter::from_fn(move || {
        // Nearly all text, without taking its characters apart.
        let start = rest.bytes().position(|byte| byte.is_ascii_alphanumeric() || !byte.is_ascii())?;
        rest = &rest[start..];
        let end = rest.bytes().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(rest.len());
        if end > 0 && rest.as_bytes().get(end).is_none_or(u8::is_ascii) {
            let (word, after) = rest.split_at(end);
            rest = after;
            return Some(word);
        }
        let start = rest.find(is_word_char)?;
        rest = &rest[start..];
        let first = rest.chars().next()?;
        let end = if is_unspaced(first) {
            first.len_utf8()
                + rest[first.len_utf8()..].find(|c| !is_combining_mark(c)).unwrap_or(usize::MAX / 2)
        } else {
            rest.find(|c| !is_word_char(c) || is_unspaced(c)).unwrap_or(rest.len())
        };
        let (word, after) = rest.split_at(end.min(rest.len()));
        rest = after;
        Some(word)
    })
}

fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || (!c.is_ascii() && is_combining_mark(c))
}

/// The accents of Latin, Greek and Cyrillic. Marks of other scripts are vowels or change the word, and stay.
fn is_accent(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}')
}

/// Letters that people type without their stroke, though Unicode does not decompose them.
fn without_stroke(c: char) -> impl Iterator<Item = char> {
    let (first, second) = match c {
        'ø' => ('o', None),
        'ł' => ('l', None),
        'đ' => ('d', None),
        'æ' => ('a', Some('e')),
        'œ' => ('o', Some('e')),
        other => (other, None),
    };
    std::iter::once(first).chain(second)
}

/// Han, Hiragana and Katakana.
fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{3041}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' | '\u{3400}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3fffd}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn case_accents_and_forms_do_not_matter() {
        for (left, right) in [
            ("Été", "ete"),
            ("E\u{301}te\u{301}", "été"),
            ("STRASSE", "Straße"),
            ("Øresund Łódź", "oresund lodz"),
            ("ﬁle ２０", "file 20"),
            ("ΣΊΣΥΦΟΣ", "σίσυφος"),
        ] {
            assert_eq!(fold(left), fold(right), "{left} {right}");
        }
        // A different kana, not an accented one.
        assert_ne!(fold("が"), fold("か"));
    }

    #[test]
    fn words_are_runs_of_letters_and_digits() {
        let cut = |text: &str| words(&fold(text)).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            cut("share/Annual_report-2024 (v2).PDF"),
            ["share", "annual", "report", "2024", "v2", "pdf"]
        );
        assert_eq!(cut("会議資料.pdf"), ["会", "議", "資", "料", "pdf"]);
        assert_eq!(cut("a会b"), ["a", "会", "b"]);
        assert!(cut(" -- / ** ").is_empty());
    }

    proptest! {
        #[test]
        fn folding_twice_changes_nothing(text in "\\PC{0,40}") {
            let once = fold(&text);
            prop_assert_eq!(fold(&once), once);
        }

        #[test]
        fn words_cover_every_letter_in_order(text in ".{0,60}") {
            let folded = fold(&text);
            let joined: String = words(&folded).collect();
            prop_assert_eq!(joined, folded.chars().filter(|c| is_word_char(*c)).collect::<String>());
            prop_assert!(words(&folded).all(|word| !word.is_empty()));
        }
    }
}
