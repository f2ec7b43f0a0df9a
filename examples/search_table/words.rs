//! A zone whose peers know each other's words.

use crate::{
    chart::{Bars, Points},
    kib, one,
    paper::{Paper, Table},
    sim::{
        filter::{Shape, density},
        random::Figures,
        team::{self, InShape, Search, Team},
        world::{Choice, Kind, Profile, TEAM, World},
    },
    two,
};

const SEED: u64 = 1;
const QUERIES: usize = 600;
const WORDS_ALONE: Shape = Shape { pair_chars: None, ..Shape::PROTOCOL };
/// What the summaries of 100 peers may take.
const GOAL_BYTES: usize = 135 << 10;

pub fn table(paper: &Paper) {
    let mut table = Table::new(&[
        "peers",
        "<query",
        "messages, mean",
        "p50",
        "p99",
        "flood",
        "has a hit",
        "has the keys",
        "seems so",
        "messages by words alone",
    ]);
    let sizes = [24, 100, 200];
    let mut bars = vec![("everyone is asked".to_owned(), Vec::new())];
    let mut below = Vec::new();
    for peers in sizes {
        let world = World::new(TEAM, peers, SEED);
        let team = Team::new(&world, 0..peers);
        let by_words = InShape::new(&world, WORDS_ALONE);
        bars[0].1.push((peers - 1) as f64);
        for (at, kind) in Kind::ALL.into_iter().enumerate() {
            let searches = team::draw(&world, kind, QUERIES, SEED + 1);
            let messages = Figures::of(team.messages(&searches, SEED + 2));
            let reasons = team.reasons(&searches);
            let by_words = searches.iter().map(|search| by_words.asked(search).len() as f64);
            table.row(&[
                peers.to_string(),
                kind.name(),
                two(messages.mean),
                format!("{:.0}", messages.median),
                format!("{:.0}", messages.p99),
                (peers - 1).to_string(),
                two(reasons.has_hits),
                two(reasons.has_keys),
                two(reasons.seems),
                two(Figures::of(by_words).mean),
            ]);
            if bars.len() <= at + 1 {
                bars.push((kind.name(), Vec::new()));
            }
            bars[at + 1].1.push(messages.mean);
        }
        let files = Figures::of((0..peers).map(|peer| world.files(peer) as f64));
        let words = Figures::of((0..peers).map(|peer| world.count_words(peer) as f64));
        below.push(format!(
            "{peers} peers: {:.0} files a peer (median; mean {:.0}), {:.0} different words (mean {:.0}), summaries of {} KiB \
             together ({} KiB of words alone).",
            files.median,
            files.mean,
            words.median,
            words.mean,
            kib(team.size_bytes()),
            kib(by_words.size_bytes())
        ));
    }
    below.push(format!("{QUERIES} queries a row, seeds {SEED} to {}.", SEED + 2));
    paper.put("words", &table, &below.join("\n"));
    let chart = Bars {
        title: "Messages of a search in one zone, with the summaries of its peers",
        unit: "messages",
        groups: &sizes.map(|peers| format!("{peers} peers")),
        series: &bars,
        is_log: true,
    };
    paper.chart("words", &chart.svg());
}

/// How much of it is the made-up world.
pub fn worlds(paper: &Paper) {
    let mut table = Table::new(&[
        "words in the world",
        "exponent",
        "<users type",
        "summaries KiB",
        "1 word",
        "2 words",
        "3 words",
        "miss",
    ]);
    for (words, word_exponent) in [(8_000, 1.0), (20_000, 1.0), (20_000, 0.8), (20_000, 0.6), (50_000, 0.8)] {
        for (choice, name) in [(Choice::Any, "any words"), (Choice::NotTheCommonest, "not the commonest")] {
            let world = World::new(Profile { words, word_exponent, choice, ..TEAM }, 100, SEED);
            let mut cells = vec![words.to_string(), one(word_exponent), name.into()];
            let searches: Vec<Vec<Search>> =
                Kind::ALL.iter().map(|kind| team::draw(&world, *kind, QUERIES, SEED + 1)).collect();
            let (bytes, messages) = team::in_shape(&world, &Shape::PROTOCOL, &searches);
            cells.push(kib(bytes));
            cells.extend(messages.into_iter().map(two));
            table.row(&cells);
        }
    }
    let below = format!("100 peers, {QUERIES} queries a figure, seeds {SEED} and {}.", SEED + 1);
    paper.put("worlds", &table, &below);
}

pub fn shapes(paper: &Paper) {
    let mut table = Table::new(&[
        "<in the filter",
        "bits of a word, a pair",
        "zone KiB",
        "1 word",
        "2 words",
        "3 words",
        "miss",
        "bytes a search is worth",
    ]);
    let world = World::new(TEAM, 100, SEED);
    let kinds = Kind::ALL;
    let searches: Vec<Vec<Search>> =
        kinds.iter().map(|kind| team::draw(&world, *kind, QUERIES, SEED + 1)).collect();
    let mut points = Vec::new();
    let singles: [(&[usize], bool); 7] = [
        (&[5], false),
        (&[3, 5], false),
        (&[3, 6], false),
        (&[3, 5, 8], false),
        (&[5], true),
        (&[3, 6], true),
        (&[3, 5, 8], true),
    ];
    let by_keys = singles.into_iter().flat_map(|(beginnings, has_whole_words)| {
        [None, Some(4), Some(5), Some(6)].map(|pair_chars| Shape {
            beginnings,
            has_whole_words,
            pair_chars,
            density: density(7, 7),
        })
    });
    let more_pairs = [3, 5].map(|chars| Shape { pair_chars: Some(chars), ..Shape::PROTOCOL });
    let bits = [(5, 2), (6, 1), (6, 3), (6, 4), (6, 5), (7, 3), (7, 5), (10, 7), (10, 10)];
    let by_bits = bits.map(|(single, pair)| Shape { density: density(single, pair), ..Shape::PROTOCOL });
    for shape in [Shape::PROTOCOL].into_iter().chain(by_keys).chain(more_pairs).chain(by_bits) {
        let (bytes, messages) = team::in_shape(&world, &shape, &searches);
        let bits = format!("{}, {}", shape.density.single_bits, shape.density.pair_bits);
        let mut cells = vec![shape.name(), bits.clone(), kib(bytes)];
        let mean = messages[1..].iter().sum::<f64>() / 3.0;
        cells.extend(messages.iter().copied().map(two));
        // Searches after which the bytes of one more zone's summaries are saved again against asking all.
        cells.push(format!("{:.0}", bytes as f64 / (99.0 - mean)));
        table.row(&cells);
        let beginnings: Vec<String> = shape.beginnings.iter().map(ToString::to_string).collect();
        let whole = if shape.has_whole_words { "w+" } else { "" };
        let pairs = shape.pair_chars.map_or(String::new(), |chars| format!(" p{chars}"));
        let name = format!("{whole}{}{pairs} @{bits}", beginnings.join(","));
        points.push((name, bytes as f64 / 1024.0, messages[1]));
    }
    let below = format!(
        "100 peers of the profile, {QUERIES} queries a figure, seeds {SEED} and {}. The goal is {} KiB.",
        SEED + 1,
        GOAL_BYTES >> 10
    );
    paper.put("shapes", &table, &below);
    let chart = Points {
        title: "What bytes buy: messages of a search for two words, 100 peers",
        x_unit: "KiB of all summaries of the zone (w: whole words; numbers: beginnings; p: pairs; @ bits a word, a pair)",
        y_unit: "messages",
        points: &points,
    };
    paper.chart("shapes", &chart.svg());
}
