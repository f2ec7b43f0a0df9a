//! Which keys paths give, and what is left of them when they are too many.

use super::*;

fn own(paths: &[&[&str]], (summary, gateway): (usize, usize)) -> Option<OwnKeys> {
    let mut keys = KeysOf::with_most(summary, gateway);
    for path in paths {
        keys.add(path.iter().copied());
    }
    keys.finish()
}

fn keys(paths: &[&[&str]], most: usize) -> Option<Keys> {
    own(paths, (most, MAX_GATEWAY_KEYS)).map(|keys| keys.summary)
}

fn count(keys: &Keys) -> (usize, usize) {
    let pairs = keys.as_slice().iter().filter(|key| is_pair(**key)).count();
    (keys.as_slice().len() - pairs, pairs)
}

#[test]
fn words_give_their_beginnings_and_paths_their_pairs() {
    // pdf; annual: ann annual; report: rep report; v2; and pairs of four, three new with the other path's.
    let one = keys(&[&["annual", "report", "v2", "pdf"]], MAX_KEYS).expect("few");
    assert_eq!((count(&one), one.has_pairs()), ((6, 6), true));
    let both = keys(&[&["annual", "report", "v2", "pdf"], &["annuals", "pdf", "pdf"]], MAX_KEYS);
    assert_eq!(count(&both.expect("few")), (6, 6), "alike in the characters that count");
    let order = keys(&[&["pdf", "v2", "report", "annual", "pdf"]], MAX_KEYS).expect("few");
    assert_eq!(order, one);
    assert_eq!(keys(&[], MAX_KEYS).map(|keys| (count(&keys), keys.has_pairs())), Some(((0, 0), true)));
}

#[test]
fn too_many_pairs_are_left_out_and_too_many_words_give_none() {
    let words: Vec<String> = (0..100_u32).map(|word| format!("{word:02}")).collect();
    let path: Vec<&str> = words.iter().map(String::as_str).collect();
    let keys = |most| keys(&[&path, &["aa", "bb"]], most);
    assert_eq!(count(&keys(5_100).expect("enough room")), (102, 4_951));
    let without = keys(5_000).expect("room for words");
    assert_eq!((count(&without), without.has_pairs()), ((102, 0), false));
    assert_eq!(keys(101), None);
    // However the memory is tidied on the way: more paths than fit untidied.
    let mut many = KeysOf::with_most(1_000, 1_000);
    for number in 0..200_000_u32 {
        many.add([format!("{:03}", number % 900).as_str(), format!("{:02}", number % 97).as_str()]);
        assert!(many.summary.keys.len() <= 2_001 && many.gateway.keys.len() <= 2_001);
    }
    let many = many.finish().expect("997 words").summary;
    assert_eq!((count(&many), many.has_pairs()), ((997, 0), false));
}

#[test]
fn gateways_are_given_shorter_and_longer_pairs_of_the_same_words() {
    let own = |path| own(&[path], (MAX_KEYS, MAX_GATEWAY_KEYS)).expect("few");
    let made = own(&["annual", "report", "v2"]);
    assert_eq!((count(&made.summary), count(&made.gateway)), ((5, 3), (5, 6)));
    let singles = |keys: &Keys| keys.as_slice()[..5].to_vec();
    assert_eq!(singles(&made.summary), singles(&made.gateway));
    // Alike in 4 characters, and no pair by fewer.
    let made = own(&["annual", "annuity"]);
    assert_eq!((count(&made.summary).1, count(&made.gateway).1), (0, 1));
}

#[test]
fn too_many_for_gateways_are_still_told_to_members() {
    let words: Vec<String> = (0..100_u32).map(|word| format!("{word:02}")).collect();
    let path: Vec<&str> = words.iter().map(String::as_str).collect();
    let made = own(&[&path], (10_000, 6_000)).expect("room for words");
    assert!(made.summary.has_pairs() && made.gateway.has_pairs());
    let made = own(&[&path, &["annual", "report"]], (10_000, 4_000)).expect("room for words");
    assert!(made.summary.has_pairs() && !made.gateway.has_pairs());
    assert_eq!(own(&[&path], (10_000, 99)), None);
}

#[test]
fn endless_pairs_end() {
    let mut keys = KeysOf { pairs_seen: MAX_PAIRS_SEEN - 1, ..KeysOf::default() };
    keys.add(["aa", "bb"]);
    assert!(keys.summary.has_pairs && keys.gateway.has_pairs);
    keys.add(["aa", "bb"]);
    let keys = keys.finish().expect("two words");
    for keys in [keys.summary, keys.gateway] {
        assert_eq!((count(&keys), keys.has_pairs()), ((2, 0), false));
    }
}

#[test]
fn keys_of_others_are_checked() {
    assert_eq!(Keys::from_sorted(vec![1, 1], true), Err(NotKeys));
    assert_eq!(Keys::from_sorted(vec![2, 1], true), Err(NotKeys));
    assert_eq!(Keys::from_sorted(vec![1, PAIR], false), Err(NotKeys));
    assert_eq!(Keys::from_sorted((0..=1 << 21).collect(), true), Err(NotKeys));
    let made = keys(&[&["annual", "report"]], MAX_KEYS).expect("few");
    assert_eq!(Keys::from_sorted(made.as_slice().to_vec(), true), Ok(made));
    assert!(Keys::from_sorted(vec![1, PAIR], true).is_ok());
}

#[test]
fn the_scheme_is_the_one_that_others_have() {
    // Anything else here is another `SHAPE`.
    assert_eq!(hash(b'p', "annual"), 6_452_907_164_090_716_460);
    assert_eq!(pair(1, 2), 2_391_116_402);
    assert_eq!((SUMMARY_PAIR_CHARS, SHAPE, GATEWAY_PAIR_CHARS, GATEWAY_SHAPE), ([4], 2, [3, 5], 3));
}
