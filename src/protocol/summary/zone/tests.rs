//! What is told of a zone arrives as it was made, and nobody is ruled out by less; what a liar tells rules nothing out.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::protocol::{query::Query, roster::Stamp, summary::KeysOf};

fn zone(number: u32) -> ZoneId {
    ZoneId::new(number).expect("not 0")
}

fn keys<'a>(paths: impl IntoIterator<Item = &'a str>) -> Arc<Keys> {
    let mut keys = KeysOf::default();
    paths.into_iter().for_each(|path| keys.add(path.split(' ')));
    Arc::new(keys.finish().expect("few words").gateway)
}

fn filter<'a>(paths: impl IntoIterator<Item = &'a str>) -> Summary {
    Basis { keys: vec![keys(paths)] }.filter().expect("few words")
}

fn probe(query: &str) -> Probe {
    Probe::of(&Query::parse(query).expect("a query"))
}

fn member(number: u8, version: u64, is_settled: bool) -> Member {
    Member {
        id: PeerId::from_bytes([number; 32]),
        name: "ana".parse().expect("a name"),
        address: ([127, 0, 0, 1], 7001).into(),
        incarnation: 1,
        shared_files: 1,
        room_bytes: 0,
        summary: Stamp { version, is_settled },
    }
}

/// Takes in all that is to be told.
fn tell(telling: &mut Telling, now: Option<&Arc<ZoneFilter>>, filters: &mut Filters) {
    while let Some(news) = telling.next(now) {
        filters.take_in(zone(2), news).expect("it follows");
    }
}

fn held(filters: &Filters) -> Option<&Summary> {
    filters.told.get(&zone(2)).filter(|told| told.listed.is_some())?.filter.as_ref()
}

#[test]
fn a_zone_is_ruled_out_by_what_all_its_members_have_not() {
    let own = keys(["annual report", "draft"]);
    let mut book = Book::new();
    let members = [member(1, 0, false), member(2, 3, true)];
    let me = members[0].id;
    let basis = |members: &[Member], book: &Book<Arc<Keys>>| Basis::of(members.iter(), me, &own, book);
    assert!(basis(&members, &book).is_none(), "not held");
    book.hold(members[1].id, 1, 3, Some(keys(["budget plan"])));
    let both = basis(&members, &book).expect("held and settled");
    assert!(basis(&[member(1, 9, true), member(2, 4, true)], &book).is_none(), "another version");
    assert!(basis(&[member(1, 9, true), member(2, 3, false)], &book).is_none(), "changing");
    assert!(basis(&[members.clone(), [member(3, 1, true), member(4, 0, false)]].concat(), &book).is_none());
    assert!(both.is_same(&basis(&members, &book).expect("held")) && both.listed() == 2);
    assert!(!both.is_same(&basis(&members[..1], &book).expect("held")), "a member left");

    let mut filters = Filters::new();
    let published = Arc::new(ZoneFilter::new(1, None, both.listed(), both.filter().expect("few")));
    tell(&mut Telling::default(), Some(&published), &mut filters);
    let ruled_out = |query: &str| {
        let probe = probe(query);
        ByFilter { filters: &filters, probe: &probe }.ruled_out(zone(2))
    };
    for query in ["annual", "report ann", "plan budget", "draft", "size:>1"] {
        assert_eq!(ruled_out(query), None, "{query}");
    }
    for query in ["invoice", "annual budget", "draft report"] {
        assert_eq!(ruled_out(query), Some(2), "{query}");
    }
    let strange = probe("invoice");
    assert_eq!(ByFilter { filters: &filters, probe: &strange }.ruled_out(zone(3)), None, "never told");
}

#[test]
fn a_zone_with_too_many_words_has_no_filter() {
    let most = u32::try_from(crate::protocol::summary::MAX_KEYS).expect("fits");
    let of = |part: u32| {
        Arc::new(Keys::from_sorted((part * most..(part + 1) * most).collect(), false).expect("keys"))
    };
    assert!(Basis { keys: (0..4).map(of).collect() }.filter().is_some());
    assert!(Basis { keys: (0..5).map(of).collect() }.filter().is_none());
}

#[test]
fn unsettled_is_told_at_once_and_a_few_new_words_as_a_change() {
    let words: Vec<String> = (0..3000).map(|number| format!("w{number}")).collect();
    let mut all: Vec<&str> = words.iter().map(String::as_str).collect();
    let first = Arc::new(ZoneFilter::new(1, None, 2, filter(all.clone())));
    all.push("another");
    let second = Arc::new(ZoneFilter::new(2, Some(&first), 3, filter(all)));
    let (mut telling, mut filters) = (Telling::default(), Filters::new());
    assert_eq!(telling.next(None), Some(News::Unsettled));
    assert_eq!(telling.next(None), None);
    assert!(matches!(telling.next(Some(&first)), Some(News::Begin { has_pairs: true, .. })));
    // In the middle of a filter as well.
    assert!(matches!(telling.next(Some(&first)), Some(News::Blocks(_))));
    assert_eq!(telling.next(None), None, "it is unsettled still");
    let mut telling = Telling::default();
    tell(&mut telling, Some(&first), &mut filters);
    assert_eq!(held(&filters), Some(&first.filter));
    assert_eq!(telling.next(None), Some(News::Unsettled));
    filters.take_in(zone(2), News::Unsettled).expect("always");
    assert_eq!(held(&filters), None);
    let Some(News::Blocks(change)) = telling.next(Some(&second)) else { panic!("a change") };
    assert!((1..60).contains(&change.blocks.len()), "{} blocks", change.blocks.len());
    filters.take_in(zone(2), News::Blocks(change)).expect("it fits");
    assert_eq!(held(&filters), None, "not settled yet");
    tell(&mut telling, Some(&second), &mut filters);
    assert_eq!((held(&filters), filters.told[&zone(2)].listed), (Some(&second.filter), Some(3)));
    // What was settled before is again without a block.
    assert_eq!(telling.next(None), Some(News::Unsettled));
    assert_eq!(telling.next(Some(&second)), Some(News::Settled { version: 2, listed: 3 }));
    assert_eq!(telling.next(Some(&second)), None);
}

#[test]
fn a_newer_filter_while_one_is_on_its_way_is_not_settled_by_the_older() {
    let first = Arc::new(ZoneFilter::new(1, None, 1, filter(["one"])));
    let second = Arc::new(ZoneFilter::new(2, Some(&first), 1, filter(["one", "two"])));
    let (mut telling, mut filters) = (Telling::default(), Filters::new());
    for _ in 0..2 {
        filters.take_in(zone(2), telling.next(Some(&first)).expect("a part")).expect("it follows");
    }
    tell(&mut telling, Some(&second), &mut filters);
    assert_eq!(held(&filters), Some(&second.filter));
}

#[derive(Debug, Clone)]
enum Step {
    Publish(Vec<u16>),
    Unsettle,
    Settle,
    Told(usize),
    Reconnect,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        proptest::collection::vec(0u16..2000, 0..400).prop_map(Step::Publish),
        Just(Step::Unsettle),
        Just(Step::Settle),
        (1usize..6).prop_map(Step::Told),
        (1usize..6).prop_map(Step::Told),
        Just(Step::Reconnect),
    ];
    proptest::collection::vec(step, 1..30)
}

proptest! {
    #[test]
    fn whoever_is_told_that_a_zone_is_settled_has_the_filter_of_that_moment(steps in steps()) {
        let (mut telling, mut filters) = (Telling::default(), Filters::new());
        let mut last: Option<Arc<ZoneFilter>> = None;
        let mut is_settled = false;
        for step in steps {
            match step {
                Step::Publish(words) => {
                    let words: BTreeSet<String> = words.iter().map(|word| format!("w{word}")).collect();
                    let version = last.as_ref().map_or(0, |last| last.version()) + 1;
                    let made = filter(words.iter().map(String::as_str));
                    last = Some(Arc::new(ZoneFilter::new(version, last.as_deref(), 5, made)));
                    is_settled = true;
                }
                Step::Unsettle => is_settled = false,
                Step::Settle => is_settled = last.is_some(),
                Step::Reconnect => {
                    filters.forget(zone(2));
                    telling = Telling::default();
                }
                Step::Told(times) => {
                    for _ in 0..times {
                        let Some(news) = telling.next(last.as_ref().filter(|_| is_settled)) else { break };
                        let is_end = matches!(news, News::Settled { .. });
                        filters.take_in(zone(2), news).expect("it follows");
                        prop_assert_eq!(held(&filters).is_some(), is_end);
                        if is_end {
                            prop_assert!(is_settled);
                            prop_assert_eq!(held(&filters), last.as_ref().map(|last| &last.filter));
                        }
                    }
                }
            }
        }
        let now = last.as_ref().filter(|_| is_settled);
        tell(&mut telling, now, &mut filters);
        prop_assert_eq!(held(&filters), now.map(|now| &now.filter));
    }
}

#[test]
fn news_that_do_not_follow_are_refused() {
    let blocks = |count: u32| News::Blocks(Change { blocks: (0..count).map(|at| (at, 1)).collect() });
    let begin = |blocks| News::Begin { blocks, has_pairs: true };
    let settled = |version| News::Settled { version, listed: 1 };
    let mut filters = Filters::new();
    assert_eq!(filters.take_in(zone(2), blocks(1)), Err(NotNews::NotBegun));
    assert_eq!(filters.take_in(zone(2), settled(1)), Err(NotNews::NotBegun));
    for too_large in [0, (4 << 20) / 8 + 1, usize::MAX] {
        assert_eq!(filters.take_in(zone(2), begin(too_large)), Err(NotASummary.into()));
    }
    let take = |filters: &mut Filters, news| filters.take_in(zone(2), news);
    assert_eq!(take(&mut filters, begin(8)), Ok(()));
    assert_eq!(take(&mut filters, blocks(9)), Err(NotASummary.into()), "outside");
    assert_eq!(take(&mut filters, settled(5)), Ok(()));
    assert_eq!(take(&mut filters, begin(8)), Ok(()));
    assert_eq!(take(&mut filters, settled(4)), Err(NotNews::Older));
    // The same again and again, without an end.
    assert_eq!(take(&mut filters, begin(8)), Ok(()));
    let told = (0..100).take_while(|_| take(&mut filters, blocks(8)).is_ok()).count();
    assert_eq!(told, MAX_TIMES_TOLD);
    assert_eq!(take(&mut filters, blocks(1)), Err(NotNews::Endless));
    filters.forget(zone(2));
    assert_eq!(filters.size_bytes(), 0);
}

#[test]
fn what_is_held_of_other_zones_is_bounded_and_the_rest_is_asked() {
    let strange = probe("invoice");
    let settle = |filters: &mut Filters, number, blocks| {
        filters.take_in(zone(number), News::Begin { blocks, has_pairs: true }).expect("begun");
        filters.take_in(zone(number), News::Blocks(Change { blocks: vec![(0, 1)] })).expect("a block");
        filters.take_in(zone(number), News::Settled { version: 1, listed: 7 }).expect("settled");
        ByFilter { filters, probe: &strange }.ruled_out(zone(number))
    };
    let mut filters = Filters::new();
    let largest = Density::ZONE.max_bytes / BLOCK_BYTES;
    let held = (1..40).filter(|number| settle(&mut filters, *number, largest) == Some(7)).count();
    assert_eq!(
        (held, filters.size_bytes()),
        (MAX_FILTERS_BYTES / Density::ZONE.max_bytes, MAX_FILTERS_BYTES)
    );
    // One that becomes smaller makes room.
    assert_eq!(settle(&mut filters, 3, 8), Some(7));
    assert_eq!(settle(&mut filters, 39, 8), Some(7));

    let mut filters = Filters::new();
    let held = (1..300).filter(|number| settle(&mut filters, *number, 8) == Some(7)).count();
    assert_eq!(held, MAX_ZONE_FILTERS);
}

#[test]
fn each_gateway_is_watched_by_as_many_others_however_many_zones_there_are() {
    let all = || (1..=1000).map(zone);
    let mut watchers = vec![0; 1001];
    for own in all() {
        let watched = watched(own, all());
        assert_eq!(watched.len(), MAX_ZONE_FILTERS);
        assert!(!watched.contains(&own));
        for other in &watched {
            watchers[other.get() as usize] += 1;
        }
    }
    assert!(watchers[1..].iter().all(|count| *count == MAX_ZONE_FILTERS));
    assert_eq!(watched(zone(2), [1, 2, 3, 9].map(zone).into_iter()), [3, 9, 1].map(zone));
}
