//! A zone whose peers know each other's words.

use crate::{
    chart::{Bars, Points},
    kib, one,
    paper::{Paper, Table},
    sim::{
        filter::Shape,
        random::Figures,
        team::{self, Search, Team},
        world::{Choice, Kind, Profile, TEAM, World},
    },
    two,
};

const SEED: u64 = 1;
const QUERIES: usize = 600;
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
        "has the words apart",
        "seems so",
    ]);
    let sizes = [24, 100, 200];
    let mut bars = vec![("everyone is asked".to_owned(), Vec::new())];
    let mut below = Vec::new();
    for peers in sizes {
        let world = World::new(TEAM, peers, SEED);
        let team = Team::new(&world, 0..peers);
        bars[0].1.push((peers - 1) as f64);
        for (at, kind) in Kind::ALL.into_iter().enumerate() {
            let searches = team::draw(&world, kind, QUERIES, SEED + 1);
            let messages = Figures::of(team.messages(&searches, SEED + 2));
            let reasons = team.reasons(&searches);
            table.row(&[
                peers.to_string(),
                kind.name(),
                two(messages.mean),
                format!("{:.0}", messages.median),
                format!("{:.0}", messages.p99),
                (peers - 1).to_string(),
                two(reasons.has_hits),
                two(reasons.has_words),
                two(reasons.seems),
            ]);
            if bars.len() <= at + 1 {
                bars.push((kind.name(), Vec::new()));
            }
            bars[at + 1].1.push(messages.mean);
        }
        let files = Figures::of((0..peers).map(|peer| world.files(peer) as f64));
        let words = Figures::of((0..peers).map(|peer| world.words_of(peer).len() as f64));
        below.push(format!(
            "{peers} peers: {:.0} files a peer (median; mean {:.0}), {:.0} different words (mean {:.0}), summaries of {} KiB \
             together.",
            files.median,
            files.mean,
            words.median,
            words.mean,
            kib(team.size_bytes())
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
        "bits a key",
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
    let protocol = [5, 6, 7, 8, 10, 12].map(|bits| Shape { bits, ..Shape::PROTOCOL });
    let others: [(&[usize], bool); 13] = [
        (&[], true),
        (&[3], true),
        (&[4], true),
        (&[5], true),
        (&[3, 5], true),
        (&[3, 6], true),
        (&[4, 7], true),
        (&[3], false),
        (&[5], false),
        (&[3, 5], false),
        (&[3, 6], false),
        (&[3, 5, 8], false),
        (&[4, 7], false),
    ];
    let others = others.into_iter().flat_map(|(beginnings, has_whole_words)| {
        [5, 7, 10].map(|bits| Shape { bits, beginnings, has_whole_words })
    });
    for shape in protocol.into_iter().chain(others) {
        let (bytes, messages) = team::in_shape(&world, &shape, &searches);
        let mut cells = vec![shape.name(), shape.bits.to_string(), kib(bytes)];
        let mean = messages[1..].iter().sum::<f64>() / 3.0;
        cells.extend(messages.iter().copied().map(two));
        // Searches after which the bytes of one more zone's summaries are saved again against asking all.
        cells.push(format!("{:.0}", bytes as f64 / (99.0 - mean)));
        table.row(&cells);
        if [5, 7, 10].contains(&shape.bits) && !shape.beginnings.is_empty() && messages[1] < 30.0 {
            let beginnings: Vec<String> = shape.beginnings.iter().map(ToString::to_string).collect();
            let whole = if shape.has_whole_words { "w+" } else { "" };
            let name = format!("{whole}{} @{}", beginnings.join(","), shape.bits);
            points.push((name, bytes as f64 / 1024.0, messages[1]));
        }
    }
    let below = format!(
        "100 peers of the profile, {QUERIES} queries a figure, seeds {SEED} and {}. The goal is {} KiB.",
        SEED + 1,
        GOAL_BYTES >> 10
    );
    paper.put("shapes", &table, &below);
    let chart = Points {
        title: "What bytes buy: messages of a search for two words, 100 peers",
        x_unit: "KiB of all summaries of the zone (w: whole words; numbers: beginnings; @ bits a key)",
        y_unit: "messages",
        points: &points,
    };
    paper.chart("shapes", &chart.svg());
}
